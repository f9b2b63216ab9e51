"""Children as programs really make them: workers, daemons, programs that are executed. No returned call is lost."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest

from support.node import Node, wait_for
from support.spools import abouts, named, parts, result, results

# `call` logs to the active run, and then says in a file that it returned.
JOB = """
import multiprocessing, os, signal, subprocess, sys, threading, time, logferry
said = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def call(where):
    logferry.info("Call", where=where)
    os.write(said, f"{where}\\n".encode())
"""
RUN = JOB + "run = logferry.init('exp', run_id='r')\ncall('parent')\n"


def _run(node: Node, code: str) -> Counter[str]:
    """Run a job from a file, as `multiprocessing` wants it; return the calls that returned."""
    (node.root / "job.py").write_text(code)
    said = node.root / "said"
    start = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = node.run_job(start, str(node.root / "job.py"), str(said))
    assert (done.returncode, done.stderr) == (0, "")
    return Counter(said.read_text().splitlines())


def _spooled(node: Node) -> Counter[str]:
    return Counter(fields["where"] for fields in named(node, "Call"))


def _check(node: Node, code: str, *expected: str) -> None:
    """Run a job; the spools must hold what returned, and that is what was expected."""
    assert _run(node, code) == Counter(expected)
    assert _spooled(node) == Counter(expected)
    assert result(node)["status"] == "COMPLETED"


LOADER = """
def work(place, tasks, done):
    if not logferry.current().run_id: logferry.init("exp")
    call(f"worker-{place}")
    while (item := tasks.get()) is not None:
        call(f"item-{item}")
        done.put(item)
    signal.pause()

if __name__ == "__main__":
    with logferry.init("exp", run_id="r") as run:
        context = multiprocessing.get_context(METHOD)
        tasks, done = [context.Queue() for _ in range(3)], context.Queue()
        workers = [
            context.Process(target=work, args=(n, tasks[n], done), daemon=True) for n in range(3)
        ]
        for worker in workers: worker.start()
        for epoch in range(2):
            for item in range(6): tasks[item % 3].put(f"{epoch}.{item}")
            for item in range(6): done.get()
            call(f"epoch-{epoch}")
        workers[0].terminate()
        workers[1].kill()
        tasks[2].put(None)
        for worker in workers[:2]: worker.join()
        assert [worker.exitcode for worker in workers[:2]] == [-15, -9]
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_a_data_loader_lose_nothing_however_they_are_ended(node: Node, method: str) -> None:
    code = JOB + LOADER.replace("METHOD", repr(method))
    items = [f"item-{epoch}.{item}" for epoch in range(2) for item in range(6)]
    _check(node, code, "worker-0", "worker-1", "worker-2", "epoch-0", "epoch-1", *items)
    assert {about["run_id"] for about in abouts(node).values()} == {"r"}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_signals_of_a_worker_stay_as_they_were_so_that_it_can_be_terminated_in_any_wait(
    node: Node, method: str
) -> None:
    code = JOB + (
        "def work(logs):\n"
        "  if logs and not logferry.current().run_id: logferry.init('exp')\n"
        "  if logs: logferry.info('Call')\n"
        "  assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGHUP) is signal.SIG_DFL\n"
        "if __name__ == '__main__':\n  with logferry.init('exp', run_id='r'):\n    for logs in (False, True):\n"
        f"      worker = multiprocessing.get_context({method!r}).Process(target=work, args=(logs,))\n"
        "      worker.start()\n      worker.join()\n      assert worker.exitcode == 0\n"
        "    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL\n"
    )
    _run(node, code)


def test_a_pool_that_is_terminated_in_the_middle_loses_no_returned_call(node: Node) -> None:
    code = JOB + (
        "def work(n):\n  call(f'{os.getpid()}-{n}')\n"
        "if __name__ == '__main__':\n  with logferry.init('exp', run_id='r'):\n"
        "    pool = multiprocessing.get_context('fork').Pool(3)\n"
        "    found = pool.imap_unordered(work, range(2000))\n"
        "    for _ in range(500): next(found)\n    pool.terminate()\n    pool.join()\n"
    )
    returned = _run(node, code)
    spooled = _spooled(node)
    assert spooled >= returned
    assert (spooled - returned).total() <= 3
    assert set(spooled.values()) == {1}


def test_a_daemon_that_forks_twice_and_closes_everything_outlives_its_parent(node: Node) -> None:
    code = (
        "if os.fork() == 0:\n"
        "  os.setsid()\n"
        "  if os.fork() > 0: os._exit(0)\n"
        "  path = sys.argv[1]\n"
        "  os.chdir('/'); os.closerange(0, 256)\n"
        "  for _ in range(3): os.open(os.devnull, os.O_RDWR)\n"
        "  said = os.open(path, os.O_WRONLY | os.O_APPEND)\n"
        "  time.sleep(0.3)\n"
        "  for n in range(50): call(f'daemon-{n}')\n"
        "  logferry.current().result({'late': 1})\n"
        "  call('last')\n"
        "  os._exit(0)\n"
        "os.wait()\n"
    )
    said = node.root / "said"
    assert node.job(RUN + code, str(said)).wait(30) == 0
    wait_for("the daemon is done", lambda: "last" in said.read_text().splitlines())
    expected = ["parent", *(f"daemon-{n}" for n in range(50)), "last"]
    assert _spooled(node) == Counter(expected)
    assert result(node)["status"] == "COMPLETED"


def test_a_child_that_outlives_its_parent_takes_part_to_its_own_end(node: Node) -> None:
    code = RUN + (
        "if os.fork() == 0:\n  call('begun')\n  time.sleep(0.4)\n  call('after the parent')\n"
        "  run.result({'child': 1})\n  call('last')\n  run.finish()\n  os.close(said)\n  os._exit(0)\n"
    )
    said = node.root / "said"
    job = node.job(code, str(said), stdout=subprocess.PIPE)
    job.communicate(timeout=30)  # both have ended: nobody holds the pipe any more
    assert job.returncode == 0
    assert len(named(node, "logferry.end")) == 2
    assert _spooled(node) == Counter(said.read_text().splitlines())
    assert (result(node)["status"], result(node)["metrics"]) == ("COMPLETED", {})
    assert [part["metrics"] for part in parts(node)] == [{"child": 1}]


def test_a_forked_child_that_executes_another_program_joins_the_run(node: Node) -> None:
    program = (
        "import logferry, os; logferry.init('exp').info('Call', where='executed'); "
        "os.write(int(os.environ['SAID']), b'executed\\n')"
    )
    code = RUN + (
        "os.set_inheritable(said, True)\nos.environ['SAID'] = str(said)\n"
        f"command = [sys.executable, '-c', {program!r}]\n"
        "if os.fork() == 0:\n  call('forked')\n  os.execv(command[0], command)\n"
        "assert os.wait()[1] == 0\n"
        "assert os.waitpid(os.posix_spawn(command[0], command, os.environ), 0)[1] == 0\n"
        "subprocess.run(command, check=True, close_fds=False)\n"
    )
    _check(node, code, "parent", "forked", *["executed"] * 3)
    assert {document["run_id"] for document in results(node)} == {"r"}


def test_threads_fork_while_others_log_and_children_fork_again(node: Node) -> None:
    code = RUN + (
        "going = True\n"
        "def loud():\n  while going: run.info('Loud', value={1}, text='x' * 300)\n"
        "def parent(place):\n"
        "  for n in range(4):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "      signal.alarm(20)\n"
        "      call(f'{place}-{n}')\n"
        "      if (grandchild := os.fork()) == 0:\n        call(f'{place}-{n}-again'); os._exit(0)\n"
        "      os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "louds = [threading.Thread(target=loud) for _ in range(2)]\n"
        "parents = [threading.Thread(target=parent, args=(place,)) for place in 'ab']\n"
        "for thread in louds + parents: thread.start()\n"
        "for thread in parents: thread.join()\n"
        "going = False\n"
    )
    places = [f"{place}-{n}{again}" for place in "ab" for n in range(4) for again in ("", "-again")]
    _check(node, code, "parent", *places)


def test_a_child_that_is_forked_while_the_process_ends_has_a_spool_of_its_own(node: Node) -> None:
    code = JOB + (
        "import atexit\n"
        "def late():\n"
        "  call('before')\n"
        "  child = os.fork()\n"
        "  if child == 0:\n    call('child')\n    os._exit(0)\n"
        "  os.waitpid(child, 0)\n  call('behind')\n"
        "atexit.register(late)\nrun = logferry.init('exp', run_id='r')\n"
    )
    _check(node, code, "before", "child", "behind")
    assert len(abouts(node)) == 2


def test_a_child_leaves_by_sys_exit_while_its_parent_goes_on(node: Node) -> None:
    code = RUN + (
        "child = os.fork()\n"
        "if child == 0:\n  call('child')\n  sys.exit(4)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4\ncall('end')\n"
    )
    _check(node, code, "parent", "child", "end")
    assert {"code": 4, "exception": "SystemExit: 4"} in [end["exit"] for end in named(node, "logferry.end")]


def test_the_runs_thread_imports_nothing_that_a_child_could_be_forked_in_the_middle_of(node: Node) -> None:
    """The child would wait for ever for a module that nobody in it finishes importing."""
    node.agent()
    job = node.run_job(
        "import sys, threading\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if threading.current_thread().name.startswith('logferry-'): print(name)\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import logferry\n"
        "with logferry.init('exp', run_id='r', config={'a': 1}) as run:\n"
        "    for number in range(20_000): run.info('Tick', number=number)\n"
        "    run.result({'loss': 1})\n"
        "    run.flush('written', 20)\n"
    )
    assert (job.returncode, job.stdout, job.stderr) == (0, "", "")
