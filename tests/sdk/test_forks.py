"""Children of every kind log into spools of their own; nobody hangs, nobody touches the parent's."""

from __future__ import annotations

import pytest

from support.node import Node
from support.spools import abouts, named, parts, result, results, spooled

OPEN = "import logferry, multiprocessing, os, signal, sys, threading, time\n"
RUN = OPEN + "run = logferry.init('exp', run_id='r')\n"


def _whole_job(node: Node, code: str, name: str = "job.py") -> None:
    """Run a program from a file, as `multiprocessing` wants it."""
    path = node.root / name
    path.write_text(code)
    done = node.run_job(f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_has_a_spool_of_its_own_and_leaves_the_parents_alone(node: Node) -> None:
    _whole_job(
        node,
        RUN + "run.info('Parent', n=1)\n"
        "if os.fork() == 0:\n  run.info('Child', pid=os.getpid())\n  os._exit(0)\n"
        "os.wait()\nrun.info('Parent', n=2)",
    )
    parent, child = sorted(spooled(node).values(), key=len, reverse=True)
    assert [name for _, _, name, _, _ in child] == ["Child"]
    assert [event[4] for event in parent if event[2] == "Parent"] == [{"n": 1}, {"n": 2}]
    assert [about["owner"] for about in abouts(node).values()].count(True) == 1
    assert {about["run_id"] for about in abouts(node).values()} == {"r"}


def test_a_forked_child_that_logs_nothing_leaves_nothing(node: Node) -> None:
    _whole_job(node, RUN + "if os.fork() == 0: sys.exit(0)\nos.wait()")
    assert len(spooled(node)) == 1
    assert result(node)["status"] == "COMPLETED"


def test_a_child_of_a_child_has_its_own_spool_too(node: Node) -> None:
    code = (
        "for depth in range(3):\n  run.info('At', depth=depth)\n  if os.fork() > 0:\n    os.wait()\n    os._exit(0)\n"
    )
    _whole_job(node, RUN + code + "run.info('At', depth=3)\nos._exit(0)")
    assert sorted(fields["depth"] for fields in named(node, "At")) == [0, 1, 2, 3]
    assert len(spooled(node)) == 4


def test_children_forked_while_other_threads_log_neither_hang_nor_lose_a_call(node: Node) -> None:
    _whole_job(
        node,
        RUN + "going = True\n"
        "def loud():\n  while going: run.info('Loud', value={1, 2}, text='x' * 500)\n"
        "threads = [threading.Thread(target=loud) for _ in range(3)]\n"
        "[thread.start() for thread in threads]\n"
        "for child in range(12):\n"
        "  if os.fork() == 0:\n"
        "    for n in range(100): run.info('Child', child=child, n=n, odd=Exception())\n"
        "    run.result({f'child{child}': child})\n"
        "    os._exit(0)\n"
        "assert all(os.wait()[1] == 0 for _ in range(12))\n"
        "going = False\n[thread.join() for thread in threads]",
    )
    found = sorted((fields["child"], fields["n"]) for fields in named(node, "Child"))
    assert found == [(child, n) for child in range(12) for n in range(100)]


@pytest.mark.parametrize("lock", ["run._lock", "run._producer._buffer._lock"])
def test_a_lock_that_a_thread_holds_at_the_fork_is_nothing_to_the_child(node: Node, lock: str) -> None:
    _whole_job(
        node,
        RUN + f"held, lock = threading.Event(), {lock}\n"
        "def hold():\n  with lock: held.set(); time.sleep(0.5)\n"
        "threading.Thread(target=hold).start()\nheld.wait()\n"
        "if os.fork() == 0:\n  signal.alarm(10)\n  run.info('Child')\n  run.result({'a': 1})\n  os._exit(0)\n"
        "assert os.wait()[1] == 0",
    )
    assert len(named(node, "Child")) == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_takes_part_and_says_how_it_ended(node: Node, method: str) -> None:
    _whole_job(
        node,
        OPEN + "def work(n):\n"
        "  run = logferry.init('exp') if 'spawn' in sys.argv or not logferry.current().run_id else logferry.current()\n"
        "  assert run.run_id == 'r'\n  run.info('Child', n=n)\n"
        "if __name__ == '__main__':\n"
        "  with logferry.init('exp', run_id='r'):\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    children = [context.Process(target=work, args=(n,)) for n in range(2)]\n"
        "    [child.start() for child in children]; [child.join() for child in children]\n"
        "    assert [child.exitcode for child in children] == [0, 0]",
    )
    assert sorted(fields["n"] for fields in named(node, "Child")) == [0, 1]
    assert [end["status"] for end in named(node, "logferry.end")] == ["COMPLETED"] * 3
    assert result(node)["status"] == "COMPLETED"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    ("work", "status"), [("pass", "COMPLETED"), ("raise ValueError('bad')", "FAILED"), ("sys.exit(3)", "FAILED")]
)
def test_a_run_that_a_child_of_multiprocessing_opened_ends_with_the_child(
    node: Node, method: str, work: str, status: str
) -> None:
    path = node.root / "job.py"
    path.write_text(
        OPEN + f"def work():\n  logferry.init('exp')\n  {work}\n"
        "if __name__ == '__main__':\n"
        f"  child = multiprocessing.get_context({method!r}).Process(target=work)\n  child.start()\n  child.join()\n"
    )
    assert node.run_job(f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')").returncode == 0
    document = result(node)
    assert document["status"] == status
    if "ValueError" in work:
        assert document["exit"]["exception"] == "ValueError: bad"


def test_a_child_that_is_terminated_says_so_and_dies_by_the_signal(node: Node) -> None:
    _whole_job(
        node,
        RUN + "ready, said = os.pipe()\nchild = os.fork()\n"
        "if child == 0:\n  run.info('Child')\n  os.write(said, b'!')\n  time.sleep(60)\n"
        "os.read(ready, 1)\nos.kill(child, signal.SIGTERM)\n"
        "assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGTERM",
    )
    ends = [end["exit"] for end in named(node, "logferry.end")]
    assert {"signal": "SIGTERM"} in ends
    assert result(node)["status"] == "COMPLETED"


def test_what_a_killed_child_logged_is_in_its_spool(node: Node) -> None:
    _whole_job(
        node,
        RUN + "if os.fork() == 0:\n  for n in range(500): run.info('Child', n=n)\n"
        "  os.kill(os.getpid(), signal.SIGKILL)\nassert os.wait()[1] == signal.SIGKILL",
    )
    assert [fields["n"] for fields in named(node, "Child")] == list(range(500))


def test_a_childs_metrics_are_a_part_beside_the_parents_document(node: Node) -> None:
    _whole_job(
        node,
        RUN + "run.result({'parent': 1})\n"
        "if os.fork() == 0:\n  run.result({'child': 2})\n  run.finish()\n  os._exit(0)\nos.wait()\nrun.finish()",
    )
    assert result(node)["metrics"] == {"parent": 1}
    assert [part["metrics"] for part in parts(node)] == [{"child": 2}]
    assert result(node)["status"] == "COMPLETED"


def test_a_child_that_leaves_the_block_does_not_end_its_parents_run(node: Node) -> None:
    _whole_job(
        node,
        OPEN + "with logferry.init('exp') as run:\n  child = os.fork()\n  run.info('Both', child=child == 0)\n"
        "if child == 0: os._exit(0)\nos.wait()\n",
    )
    assert len(named(node, "Both")) == 2
    assert len(named(node, "ExperimentCompleted")) == 1
    assert result(node)["status"] == "COMPLETED"


def test_a_child_that_opens_a_run_of_another_experiment_has_one_of_its_own(node: Node) -> None:
    _whole_job(
        node,
        RUN + "if os.fork() == 0:\n  with logferry.init('other') as own: own.info('Own')\n  os._exit(0)\nos.wait()",
    )
    assert {document["experiment_id"] for document in results(node)} == {"exp", "other"}
    assert {about["experiment_id"] for about in abouts(node).values()} == {"exp", "other"}


def test_a_child_process_joins_the_run_that_is_open_and_not_one_that_has_ended(node: Node) -> None:
    child = "import logferry; logferry.init('exp').info('Child')"
    _whole_job(
        node,
        OPEN + "import subprocess\nfirst = logferry.init('exp', run_id='first')\n"
        "second = logferry.init('exp', run_id='second')\nsecond.finish()\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)",
    )
    assert {document["run_id"]: document["attempt"] for document in results(node)} == {"first": 1, "second": 1}
    assert sorted(about["run_id"] for about in abouts(node).values()) == ["first", "first", "second"]


def test_a_child_in_which_no_thread_can_start_logs_all_the_same(node: Node) -> None:
    done = node.run_job(
        RUN + "if os.fork() == 0:\n"
        '  def refuse(_): raise RuntimeError("can\'t start new thread")\n'
        "  threading.Thread.start = refuse\n"
        "  for n in range(3): run.info('Child', n=n)\n  run.finish()\n  os._exit(0)\n"
        "assert os.wait()[1] == 0"
    )
    assert done.returncode == 0, done.stderr
    assert [fields["n"] for fields in named(node, "Child")] == [0, 1, 2]
    assert "can't start new thread" in done.stderr


def test_threads_and_tasks_each_have_the_run_that_they_opened(node: Node) -> None:
    _whole_job(
        node,
        OPEN + "import asyncio\n"
        "async def task(name):\n"
        "  with logferry.init(name):\n"
        "    for n in range(5):\n      logferry.info('Tick', task=name)\n      await asyncio.sleep(0)\n"
        "async def main(): await asyncio.gather(*(task(f't{n}') for n in range(3)))\n"
        "asyncio.run(main())\nassert logferry.current().run_id == ''",
    )
    for producer, about in abouts(node).items():
        ticks = [fields["task"] for *_, name, _, fields in spooled(node)[producer] if name == "Tick"]
        assert ticks == [about["experiment_id"]] * 5


def test_a_thread_without_a_context_logs_to_the_newest_run(node: Node) -> None:
    _whole_job(
        node,
        RUN + "thread = threading.Thread(target=lambda: logferry.info('Thread'))\nthread.start()\nthread.join()",
    )
    assert len(named(node, "Thread")) == 1


def test_a_hundred_threads_lose_nothing_and_mix_nothing_up(node: Node) -> None:
    _whole_job(
        node,
        RUN + "def work(t):\n  for n in range(50): run.info('Tick', t=t, n=n, odd={t})\n"
        "threads = [threading.Thread(target=work, args=(t,)) for t in range(100)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]",
    )
    found = [(fields["t"], fields["n"], fields["odd"]) for fields in named(node, "Tick")]
    assert sorted(found) == [(t, n, [t]) for t in range(100) for n in range(50)]
