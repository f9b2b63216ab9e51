"""The live view of `up`: what is connected, how far it is, what is held; single lines where no terminal shows it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from logferry.cli import printable
from logferry.settings import Settings
from logferry_agent.asking import ask

_REFRESH_S = 0.5
# Lines around the rows: the head, the table's own, how many more there are, and the cursor's.
_AROUND = 5


def show(settings: Settings) -> Iterator[None]:
    """Yield once per look at the agent, for ever; print what changed, or keep a table up to date on a terminal."""
    print(f"agent and collector are up: node {settings.node_dir}, home {settings.home}; Ctrl-C ends", flush=True)
    yield from _table(settings) if sys.stdout.isatty() else _lines(settings)


def _lines(settings: Settings) -> Iterator[None]:
    said = ""
    while True:
        status = ask(settings, "status", {})
        now = "; ".join(_held(status)) if status else "the agent does not answer"
        if now != said:
            print(now or "nothing is held any more", flush=True)
        said = now
        yield
        time.sleep(_REFRESH_S)


def _table(settings: Settings) -> Iterator[None]:
    with Live(refresh_per_second=4, transient=True) as live:
        while True:
            live.update(render(ask(settings, "status", {}), live.console.height))
            yield
            time.sleep(_REFRESH_S)


def render(status: dict[str, Any] | None, height: int) -> Group:
    """Return the view of one status for a terminal of `height` lines; None while the agent does not answer."""
    if status is None:
        return Group(Text("the agent does not answer", style="red"))
    open_ones = [one for one in status["producers"] if not one["sealed"]]
    head = Text(
        f"{len(open_ones)} producers, {status['connected']} connected; journal {status['journal_bytes'] >> 20} MiB, "
        f"queued {status['queued_bytes'] >> 10} KiB, agent memory {status['memory_bytes'] >> 20} MiB"
    )
    table = Table("experiment", "run", box=None)
    for name in ("pid", "events", "durable", "written"):
        table.add_column(name, justify="right")
    held = [Text(line, style="yellow") for line in _held(status)]
    most = max(1, height - _AROUND - len(held))
    for one in open_ones[:most]:
        counts = (one["expected"] - 1, one["durable"], one["written"])
        names = (printable(one["experiment_id"]), printable(one["run_id"]))
        table.add_row(*map(Text, names), str(one["pid"]), *(f"{count:,}" for count in counts))
    rest = [Text(f"… and {len(open_ones) - most} more")] if len(open_ones) > most else []
    return Group(head, *held, table, *rest)


def _held(status: dict[str, Any]) -> list[str]:
    return [printable(f"held: {one['what']} {one['path']}: {one['error']}") for one in status["held"]]
