"""The bare loops that everything is measured against: the same work without any promise."""

from __future__ import annotations

import logging
import mmap
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import orjson

LEVELS = {0: "SYSTEM", 10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
_head = struct.Struct(">BIBI").pack


def bare_call(size: int = 64 << 20) -> tuple[Callable[..., None], Callable[[], None]]:
    """Return (a log call that only stamps, packs and copies into mapped memory, a function that starts anew)."""
    memory = mmap.mmap(-1, size)
    memory.write(bytes(size))
    memory.seek(0)
    pack, write, now = msgpack.Packer().pack, memory.write, time.time_ns

    def call(event: str, message: str | None = None, /, **fields: Any) -> None:
        packed = pack([now(), 20, event, message, fields])
        write(_head(0xCE, len(packed), 0xCE, crc32(packed)) + packed)

    return call, lambda: memory.seek(0) and None


def disabled_stdlib_call() -> Callable[..., None]:
    logger = logging.getLogger("bench.disabled")
    logger.setLevel(logging.ERROR)
    return logger.debug


def render_and_write(payloads: list[tuple[int, bytes]], producer: str, path: Path) -> int:
    """Unpack records, render them as lines with time and `seq`, write them; return how many there were."""
    count = second = 0
    stamp = ""
    with path.open("wb", buffering=0) as file:
        for first, payload in payloads:
            unpacker = msgpack.Unpacker(max_buffer_size=len(payload) + 1)
            unpacker.feed(payload)
            stream = iter(unpacker)
            lines = []
            for number, (_, _, (time_ns, level, event, message, fields)) in enumerate(
                zip(stream, stream, stream, strict=True), first
            ):
                whole, rest = divmod(time_ns, 1_000_000_000)
                if whole != second:
                    second, stamp = whole, datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
                line = {"time": f"{stamp}.{rest // 1000:06d}Z", "level": LEVELS[level], "event": event}
                if message is not None:
                    line["message"] = message
                line.update(fields)
                line["seq"] = f"{producer}-{number}"
                lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            count += len(lines)
            file.write(b"".join(lines))
    return count
