"""Ask the agent of a node directory something, from a command line."""

from __future__ import annotations

from typing import Any

import zmq

from logferry import spool, wire
from logferry.layout import NodeDir, is_own_node_dir
from logferry.settings import Settings

TIMEOUT_S = 2.0


def ask(
    settings: Settings, verb: str, arguments: dict[str, Any], timeout_s: float = TIMEOUT_S
) -> dict[str, Any] | None:
    """Return the answer, or None where no agent runs or it does not answer in time."""
    node = NodeDir(settings.node_dir)
    if settings.agent is None and (not is_own_node_dir(node.path) or spool.lock_holder(node.lock) is None):
        return None
    context = zmq.Context()
    try:
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(settings.agent or node.address)
        dealer.send_multipart(wire.encode(wire.Ask(verb, arguments)))
        if not dealer.poll(int(timeout_s * 1000)):
            return None
        frame = wire.decode(dealer.recv_multipart())
        return frame.arguments if isinstance(frame, wire.Answer) else None
    finally:
        # Closes the socket too: with one that an interrupt kept from being closed, `term` would wait for ever.
        context.destroy()
