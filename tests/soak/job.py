"""One job of the soak: logs, and notes after each call in shared memory, outside of the process, that it returned.

Usage: job.py RUN_ID NOTES FIRST_SLOT "KIND PACE" BURST. NOTES is an array of u64: the word at FIRST_SLOT says how
the job is to end; two follow for each of its writers: how many calls at INFO, and how many at DEBUG, have returned.
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

# After each burst at full speed, in which segments roll, windows fill and, where no agent is there, events are shed.
REST_S = 0.5
PAUSE_S = 0.002
GO_ON, FINISH, FAIL = 0, 1, 2
WRITERS = 3
# Set before the run is finished: a thread's call that returns later may have come too late, and is not noted.
finishing = threading.Event()


class Writer:
    """Logs as one thread, process or task; a line has what is needed to check it without its neighbours."""

    def __init__(self, notes: memoryview, first: int, number: int, burst: int) -> None:
        self._notes, self._end, self._slot = notes, first, first + 1 + 2 * number
        self._burst = burst

    @property
    def goes_on(self) -> bool:
        return self._notes[self._end] == GO_ON

    def call(self, number: int) -> float:
        """Log once or twice; return how long to rest."""
        notes, slot = self._notes, self._slot
        logferry.info("Tick", slot=slot, number=number, ballast="x" * (number % 97))
        if finishing.is_set():
            return PAUSE_S
        notes[slot] = number
        if number % 10 == 0:
            logferry.debug("Detail", slot=slot + 1, number=number // 10)
            notes[slot + 1] = number // 10
        if not self._burst:
            return PAUSE_S
        return REST_S if number % self._burst == 0 else 0.0

    def run(self) -> None:
        number = 0
        while self.goes_on:
            number += 1
            if pause_s := self.call(number):
                time.sleep(pause_s)

    async def run_as_task(self) -> None:
        number = 0
        while self.goes_on:
            number += 1
            await asyncio.sleep(self.call(number))


def shared(path: str) -> memoryview:
    with open(path, "r+b") as file:
        # One store of eight bytes: a kill finds the old number or the new one.
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")


def spawned(run_id: str, path: str, first: int, number: int, burst: int) -> None:
    with logferry.init("soak", run_id=run_id):
        Writer(shared(path), first, number, burst).run()


async def tasks(writers: list[Writer]) -> None:
    await asyncio.gather(*(writer.run_as_task() for writer in writers))


def main() -> None:
    run_id, path, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
    kind, pace = sys.argv[4].split()
    burst = int(sys.argv[5]) if pace == "loud" else 0
    notes = shared(path)
    own, *others = (Writer(notes, first, number, burst) for number in range(WRITERS))
    with logferry.init("soak", run_id=run_id, config={"kind": kind}, level="DEBUG") as run:
        if kind == "threads":
            for writer in others:
                threading.Thread(target=writer.run).start()
        elif kind == "forks":
            for writer in others:
                if os.fork() == 0:
                    writer.run()
                    os._exit(0)
        elif kind == "spawned":
            context = multiprocessing.get_context("spawn")
            for number in range(1, WRITERS):
                context.Process(target=spawned, args=(run_id, path, first, number, burst)).start()
        if kind == "tasks":
            asyncio.run(tasks([own, *others]))
        else:
            own.run()
        run.result({"first": first})
        finishing.set()
        if notes[first] == FAIL:
            raise RuntimeError("as it was told")


if __name__ == "__main__":
    main()
