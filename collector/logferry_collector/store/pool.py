"""Connections to PostgreSQL that are kept for the next one who needs one.

A pool of our own, because the usual one waits in the background for a server that is down: whoever asks is told after
its timeout, and not why. Here the first who asks is told at once.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

# With the 4 MB that is usual, groups with more than two metrics are sorted on disk instead of hashed.
_ROOM = "SELECT set_config('work_mem', '32MB', false) WHERE pg_size_bytes(current_setting('work_mem')) < 32 << 20"


class Pool:
    """Used by one thread; as many connections as are needed at once."""

    def __init__(self, info: str) -> None:
        self._info = info
        self._idle: list[psycopg.Connection[Any]] = []

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection, in autocommit.

        Raises:
            psycopg.OperationalError: none can be made.

        """
        connection = self._take()
        try:
            yield connection
        finally:
            if connection.info.transaction_status is TransactionStatus.IDLE:
                self._idle.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> psycopg.Connection[Any]:
        while self._idle:
            connection = self._idle.pop()
            if _is_quiet(connection):
                return connection
            connection.close()
        connection = psycopg.connect(self._info, autocommit=True)
        # Compiling a query takes longer than any of ours runs.
        connection.execute(f"SET jit = off; {_ROOM}".encode())
        return connection


def _is_quiet(connection: psycopg.Connection[Any]) -> bool:
    """Say whether the server said nothing since: what it says to who asked nothing is that it ends the connection."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)
