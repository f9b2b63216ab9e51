"""Calls from odd places: every one that returned is in the spool once, whenever in the life of the process it came."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from support.node import Node
from support.spools import named, result

# `call` logs, and then says on a descriptor of its own that it returned; it needs no name that may be gone by then.
JOB = """
import os
def maker(write=os.write):
    def call(where):
        current().info("Call", where=where)
        write(1, f"{where}\\n".encode())
    def current():
        return run
    before_the_run(call)
    import logferry
    run = logferry.init("exp", run_id="r")
    return call, run
def before_the_run(call):
    import atexit
    BEFORE
call, run = maker()
import asyncio, atexit, gc, logging, signal, sys, threading, time, weakref
"""

LOUD = """
class Loud:
    def __init__(self, where): self.where, self.call = where, call
    def __del__(self): self.call(self.where)
"""


def _check(node: Node, code: str, *, before: str = "pass", exit_code: int = 0) -> Counter[str]:
    """Run a job; return how often it called from where, once it is clear that the spool holds exactly those."""
    done = node.run_job(JOB.replace("BEFORE", before) + code)
    assert (done.returncode, done.stderr) == (exit_code, "")
    returned = Counter(done.stdout.splitlines())
    assert Counter(fields["where"] for fields in named(node, "Call")) == returned
    return returned


def test_atexit_functions_log_before_and_after_our_own(node: Node) -> None:
    code = "atexit.register(call, 'first')\ncall('main')"
    assert _check(node, code, before="atexit.register(call, 'last')") == Counter(["main", "first", "last"])
    assert result(node)["status"] == "COMPLETED"


def test_the_active_run_is_still_there_for_who_logs_after_the_end(node: Node) -> None:
    code = "import logferry\nrun = None\ncall('main')"
    before = (
        "atexit.register(lambda: (__import__('logferry').info('Call', where='module'), os.write(1, b'module\\\\n')))"
    )
    assert _check(node, code, before=before.replace("\\\\n", "\\n")) == Counter(["main", "module"])


def test_what_is_taken_down_with_the_interpreter_logs_to_the_end(node: Node) -> None:
    code = LOUD + (
        "import builtins\nbuiltins.late = Loud('builtins')\nplain = Loud('global')\n"
        "cycle = Loud('cycle')\ncycle.me = cycle\n"
        "def steps(call):\n  try: yield\n  finally: call('generator')\n"
        "open_steps = steps(call)\nnext(open_steps)\n"
        "class Owner: pass\nowner = Owner()\nweakref.finalize(owner, call, 'finalizer')\n"
    )
    assert set(_check(node, code)) == {"builtins", "global", "cycle", "generator", "finalizer"}


def test_threads_that_run_on_at_the_end_log_as_long_as_they_run(node: Node) -> None:
    code = (
        "spins = []\n"
        "def rest():\n"
        "  threading.main_thread().join()\n"
        "  before = len(spins)\n"
        "  while len(spins) < before + 100: time.sleep(0.01)\n"
        "  call('thread')\n"
        "threading.Thread(target=rest).start()\n"
        "def spin():\n  while True: run.info('Spin'); spins.append(1); time.sleep(0.0002)\n"
        "for _ in range(3): threading.Thread(target=spin, daemon=True).start()\n"
    )
    assert _check(node, code) == Counter(["thread"])
    assert len(named(node, "Spin")) >= 100


# The interpreter's end stops the thread for good inside of the point, with the buffer's lock.
STOPPED_AT = """
import builtins
from logferry import buffer, segment
buffer.Buffer.prepare = lambda _: None
ending, inside = threading.Event(), threading.Event()
def last():
  ending.set()
  inside.wait()
def stop(point):
  if point == 'POINT' and ending.is_set() and threading.current_thread() is thread:
    inside.set()
    time.sleep(60)
buffer.passed = segment.passed = stop
def spin():
  ending.wait()  # or the spool is full before, and no segment is made any more
  while True: run.info('Spin', x='x' * 5000)
class Late:
  call = staticmethod(call)
  def __del__(self):
    for n in range(30): self.call(f'{n}' * 5000)
builtins.late = Late()
thread = threading.Thread(target=spin, daemon=True)
thread.start()
"""


@pytest.mark.parametrize("point", ["segment.opened", "segment.allocated", "segment.made", "roll.retired", "roll.shown"])
def test_a_thread_that_the_end_stopped_inside_of_a_call_keeps_nobody_waiting(node: Node, point: str) -> None:
    code, before = STOPPED_AT.replace("POINT", point), "atexit.register(lambda: __import__('__main__').last())"
    assert _check(node, code, before=before).total() == 30
    assert result(node)["status"] == "COMPLETED"


def test_an_exit_or_an_error_in_a_thread_ends_the_thread_only(node: Node) -> None:
    code = (
        "threading.excepthook = lambda _: call('hook')\n"
        "def leave():\n  call('leaves')\n  sys.exit(3)\n"
        "def fail():\n  call('fails')\n  1 / 0\n"
        "for work in (leave, fail):\n  thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "call('main')"
    )
    assert _check(node, code) == Counter(["leaves", "hook", "fails", "hook", "main"])
    assert (result(node)["status"], result(node)["exit"]) == ("COMPLETED", None)


def test_handlers_of_signals_log_between_any_two_instructions(node: Node) -> None:
    code = (
        "signal.signal(signal.SIGALRM, lambda *_: call('signal'))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "for n in range(3000): run.info('Tick', n=n, odd={n}, ballast='x' * 900)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)"
    )
    assert _check(node, code)["signal"] > 3
    assert [fields["n"] for fields in named(node, "Tick")] == list(range(3000))


@pytest.mark.parametrize(
    ("end", "exit_code", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(20)", -15, {"signal": "SIGTERM"}),
        ("", 0, None),
        ("sys.exit(3)", 3, {"code": 3, "exception": "SystemExit: 3"}),
    ],
)
def test_the_end_of_the_process_loses_no_call_of_its_threads(
    node: Node, end: str, exit_code: int, how: dict[str, Any] | None
) -> None:
    code = (
        "def loud(name):\n  n = 0\n  while True:\n    call(f'{name}-{n}')\n    n += 1\n"
        "for name in 'abc': threading.Thread(target=loud, args=(name,), daemon=True).start()\n"
        "time.sleep(0.2)\n"
    )
    done = node.run_job(JOB.replace("BEFORE", "pass") + code + end)
    assert (done.returncode, done.stderr) == (exit_code, "")
    spooled = Counter(fields["where"] for fields in named(node, "Call"))
    returned = Counter(done.stdout.splitlines())
    # The last call of each thread may have returned without having said so.
    assert spooled >= returned
    assert (spooled - returned).total() <= 3
    assert set(spooled.values()) == {1}
    assert result(node)["exit"] == how


HOOKS = {
    "gc callback": "gc.callbacks.append(lambda *_: call('gc'))\ngc.collect()\ngc.callbacks.clear()",
    "weakref callback": "class A: pass\na = A()\nref = weakref.ref(a, lambda _: call('weakref'))\ndel a",
    "excepthook": "sys.excepthook = lambda *_: call('hook')\n1 / 0",
    "unraisable": "class A:\n  def __del__(self): 1 / 0\nsys.unraisablehook = lambda _: call('unraisable')\nA()",
    "logging": (
        "class Copy(logging.Handler):\n  def emit(self, record): call(record.getMessage())\n"
        "logging.getLogger().addHandler(Copy())\nlogging.warning('warned')\n"
    ),
    "trace": "sys.setprofile(lambda *_: None)\ncall('profiled')\nsys.setprofile(None)",
    "repr": "class A:\n  def __repr__(self): call('inner'); return 'A'\ncurrent = run.info('Outer', value=A())",
}


@pytest.mark.parametrize("place", HOOKS)
def test_code_that_the_interpreter_calls_by_itself_may_log(node: Node, place: str) -> None:
    assert _check(node, HOOKS[place], exit_code=int(place == "excepthook"))


def test_a_loop_that_handles_exceptions_by_logging_goes_on(node: Node) -> None:
    code = (
        "async def main():\n"
        "  loop = asyncio.get_running_loop()\n"
        "  loop.set_exception_handler(lambda *_: call('handler'))\n"
        "  loop.call_soon(lambda: 1 / 0)\n"
        "  async def bad(): raise ValueError\n"
        "  task = loop.create_task(bad())\n"
        "  await asyncio.sleep(0.01)\n"
        "  del task\n"
        "  gc.collect()\n"
        "  async def steps():\n    try: yield\n    finally: call('closed')\n"
        "  left = steps()\n  await anext(left)\n"
        "asyncio.run(main())\ncall('after')"
    )
    assert _check(node, code) == Counter({"handler": 2, "closed": 1, "after": 1})
