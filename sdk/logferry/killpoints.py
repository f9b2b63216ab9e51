"""Points of the code at which a test ends the process as the OOM killer would, and then looks what is lost: nothing.

`LOGFERRY_KILL_POINT=NAME` ends the process when it passes the point NAME, `NAME:N` when it does so for the N-th time;
a forked child goes on counting where its parent was. Without the variable `passed` is a function that does nothing,
chosen once when this module is loaded; no point lies on the way of a log call that fits into its segment.

`POINTS` says where each one is. A test holds it to the calls in the code, and dies at each.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from signal import SIGKILL
from time import sleep

# What other threads were told too early, an ack say, gets out meanwhile, and is missed afterwards.
_OTHERS_GO_ON_S = 0.03
VARIABLE = "LOGFERRY_KILL_POINT"
POINTS = {
    # a producer's spool is made
    "spool.made": "the hidden directory is there, and nothing in it",
    "spool.locked": "its lock is taken",
    "spool.greeted": "its hello is written, the directory is still hidden",
    "spool.named": "the directory has its name, and no segment",
    "segment.opened": "a segment's file is there, empty",
    "segment.allocated": "it has its blocks, all zero",
    "segment.made": "it has its header",
    "head.made": "the page of counts is there, nobody has logged",
    # calls and acks
    "roll.retired": "the old segment takes no more, the new one is not shown to the log calls",
    "roll.shown": "the new segment is shown, the call's record is in neither",
    "trim.noted": "the ack is noted in the head, what it covers is not unlinked",
    "trim.unlinked": "one of the segments that it covers is unlinked",
    # a run and its result
    "result.linked": "the run's file is created, its temporary name is still there",
    "takeover.marked": "the mark of the one that takes a dead owner's run over is there, the file is the dead one's",
    "run.begun": "the first document is in the spool",
    "result.spooled": "metrics are in the spool, and not on their way to the file",
    "result.written": "the temporary file is written, not synced",
    "result.synced": "the temporary file is synced, the old document stands",
    "result.renamed": "the new document stands, its directory is not synced",
    "result.replaced": "the directory is synced, nobody knows it",
    "finish.said": "the last event is logged, the final document is not",
    "finish.spooled": "the final document is in the spool, not in its file",
    "finish.saved": "the file is final, the producer's end is not in the spool",
    "finish.ended": "the producer's end is in the spool, its thread still ships",
    "finish.shipped": "the thread has ended, the lock is held",
    "finish.unlocked": "the lock is free, the process still lives",
    "child.joining": "a forked child is about to open its spool for its first call",
    "child.joined": "its spool is open, its first call is not in it",
    # the journal
    "journal.appended": "a group is written, not synced",
    "journal.synced": "it is synced, nobody knows it",
    "ack.sent": "a welcome or an ack is on its way",
    "journal.opened": "a new segment is there, empty",
    "journal.headed": "its header is written, not synced",
    "journal.named": "its header is synced, its name is not",
    "journal.begun": "both are, and it holds no record",
    "journal.trimmed": "a segment that nobody needs is unlinked",
    "recovery.begun": "the newest header is read",
    "recovery.rewritten": "the tail of an earlier life is written again, not synced",
    "recovery.done": "everything found is durable",
    # adoption
    "adopt.locked": "a dead producer's lock is taken",
    "adopt.taken": "some of its events are on their way into the journal",
    "adopt.durable": "all of them are durable, it has no seal",
    "adopt.sealed": "its seal is on its way into the journal",
    "adopt.settled": "its seal is in the run's file, checkpointed; the spool is whole",
    "remove.hidden": "the spool is renamed, all its files are there",
    "remove.begun": "one of its files is unlinked",
    "remove.emptied": "the directory is gone, which is not synced",
    "remove.done": "it is synced, nobody knows it",
    "adopt.retired": "the producer's row is gone",
    # a running log
    "log.created": "a new file is there, the database does not know it",
    "log.known": "the database knows it, it is empty",
    "log.written": "lines are written, not synced",
    "log.synced": "the file is synced, a new one's name is not",
    "log.durable": "the name is synced too, no checkpoint says so",
    "checkpoint.begun": "the transaction holds the checkpoint, not committed",
    "checkpoint.committed": "it is committed, nobody knows it",
    "rotate.noted": "the new name is committed, the file has its old one",
    "rotate.renamed": "the file has its new name, its directory is not synced",
    "rotate.synced": "the directory is synced, no checkpoint says so",
    "rotate.left": "the checkpoint says so, no new file is there",
    "compress.written": "the compressed copy is written under a hidden name, not synced",
    "compress.synced": "it is synced, still hidden",
    "compress.renamed": "it has its name, beside the original; the directory is not synced",
    "compress.named": "the directory is synced, the original still there",
    "compress.done": "the original is unlinked",
    "prune.written": "what a file held is written down, not synced",
    "prune.noted": "it is synced, the file is still there",
    "prune.done": "the file is unlinked",
    # the trash
    "trash.bare": "a removed run's logs and parts are gone, its result is there",
    "trash.hidden": "its result has the name of one that is gone, all edits are there",
    "trash.unmarked": "the edits are gone, that file is not",
    # what the agent knows besides
    "settle.written": "a dead run's result is written, the database still lists it as due",
    "state.aside": "one file of a database that cannot be read has its other name",
    "state.cleared": "all of them have, there is no new one",
    "state.opened": "a new database is there, without tables",
    # the collector
    "hints.drained": "notifications are taken, no file was looked at",
    "ingest.begun": "the transaction has begun, nothing is in it",
    "ingest.taken": "rows and cursors are in it, not committed",
    "ingest.committed": "they are committed, nobody knows it",
    "migrate.begun": "the transaction has begun, no table is there",
    "migrate.stepped": "the tables are in it, their version is not",
    "migrate.done": "it is committed",
}


def _unarmed(_name: str) -> None:
    return


def _armed(wanted: str) -> Callable[[str], None]:
    name, _, count = wanted.partition(":")
    if name not in POINTS:
        raise ValueError(f"{VARIABLE}: there is no point {name!r}")
    passages = itertools.count(1)
    last = int(count or 1)

    def die_at(point: str) -> None:
        if point == name and next(passages) == last:
            sleep(_OTHERS_GO_ON_S)
            os.kill(os.getpid(), SIGKILL)

    return die_at


passed = _armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _unarmed
