"""One job of the soak: logs, and notes after each call in shared memory, outside of the process, that it returned.

Usage: job.py RUN_ID NOTES FIRST_SLOT KIND. Slot k of NOTES is a u64: how many calls of the k-th writer have returned.
"""

from __future__ import annotations

import asyncio
import mmap
import multiprocessing
import os
import sys
import threading
import time

import logferry

# At full speed first, so that segments roll and windows fill; then slowly, so that a spool never has to shed.
BURST = 20_000


def write(notes: memoryview, slot: int) -> None:
    run = logferry.current()
    number = 0
    while True:
        number += 1
        run.info("Tick", slot=slot, number=number, ballast="x" * (number % 97))
        notes[slot] = number
        if number > BURST:
            time.sleep(0.002)


async def tasks(notes: memoryview, slots: list[int]) -> None:
    async def one(slot: int) -> None:
        for number in range(1, 1_000_000):
            logferry.info("Tick", slot=slot, number=number)
            notes[slot] = number
            await asyncio.sleep(0.001)

    await asyncio.gather(*map(one, slots))


def main() -> None:
    run_id, path, first, kind = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    with open(path, "r+b") as file:
        # One store of eight bytes: a kill finds the old number or the new one.
        notes = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
    with logferry.init("soak", run_id=run_id, config={"kind": kind}):
        if kind == "threads":
            for slot in (first + 1, first + 2):
                threading.Thread(target=write, args=(notes, slot), daemon=True).start()
        elif kind == "forks":
            for slot in (first + 1, first + 2):
                if os.fork() == 0:
                    write(notes, slot)
        elif kind == "processes":
            context = multiprocessing.get_context("fork")
            for slot in (first + 1, first + 2):
                context.Process(target=write, args=(notes, slot), daemon=True).start()
        elif kind == "tasks":
            asyncio.run(tasks(notes, [first, first + 1, first + 2]))
        write(notes, first)


if __name__ == "__main__":
    main()
