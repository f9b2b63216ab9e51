"""What `logferry agent` runs: the daemon, imported without TLS, which nothing here speaks.

With it asyncio brings OpenSSL: an eighth of an idle agent's memory, and a fifteenth of the time until it is ready.
"""

from __future__ import annotations

import sys

__all__ = ["agent"]

# asyncio takes it for a Python that was built without; whoever has it already keeps it.
_is_hidden = sys.modules.setdefault("ssl", None) is None  # type: ignore[arg-type]
try:
    from logferry_agent.daemon import agent
finally:
    if _is_hidden:
        del sys.modules["ssl"]
