"""A store in PostgreSQL when servers, connections and networks break: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from logferry_collector.store import QueryError, StoreDownError, StoreRefusedError, open_url
from logferry_collector.store import postgres as backend
from logferry_collector.store.database import Operand
from logferry_collector.store.fragment import Sql, sql
from logferry_collector.store.postgres_sql import _text
from support import postgres
from support.collecting import Place
from support.depth import sized
from support.proxy import Proxy

COLLECTOR = (sys.executable, "-c", "import sys; from logferry.cli import main; sys.exit(main(['collector']))")


@pytest.fixture
def url() -> str:
    return postgres.shared().fresh_url()


def runs_in(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        try:
            return [run for (run,) in connection.execute("SELECT run_id FROM candidate ORDER BY 1")]
        except psycopg.errors.UndefinedTable:  # nobody has opened the store yet
            return []


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def collecting(home: Path, root: Path, url: str) -> subprocess.Popen[bytes]:
    environment = {"LOGFERRY_HOME": str(home), "LOGFERRY_NODE_DIR": str(root / "node"), "LOGFERRY_STORE": url}
    environment["LOGFERRY_CONFIG"] = str(root / "config.toml")
    (root / "config.toml").write_text("[collector]\nrescan_s = 1\nbackoff_max_s = 1\nbatch_files = 8\n")
    with (root / "said").open("wb") as said:
        return subprocess.Popen(COLLECTOR, env=os.environ | environment, stderr=said)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_a_server_killed_and_started_under_load_loses_nothing(root: Path, number: signal.Signals) -> None:
    with postgres.own(root / "pg") as server:
        place = Place(root)
        place.store.close()
        url = server.fresh_url()
        written: list[str] = []
        with collecting(place.home.path, root, url) as collector:
            try:
                for round_ in range(2):
                    there = len(written)
                    for file in range(60):
                        place.write(f"e/{round_}-{file:02d}.json", {"metrics": {"x": file}})
                        place.append("e/all.jsonl", {"run_id": f"line-{round_}-{file:02d}"})
                        written += [f"{round_}-{file:02d}", f"line-{round_}-{file:02d}"]
                    wait_until(lambda there=there: len(runs_in(url)) > there)  # type: ignore[misc]
                    server.stop(number)
                    if round_:  # so fast may the server be back the other time that nobody has missed it
                        wait_until(lambda: "trying again, nothing is skipped" in (root / "said").read_text())
                    server.start()
                wait_until(lambda: runs_in(url) == sorted(written))
                wait_until(lambda: "works again" in (root / "said").read_text())
            finally:
                collector.send_signal(signal.SIGTERM)


def test_a_connection_that_the_server_ends_at_any_moment_leaves_all_or_nothing(root: Path, url: str) -> None:
    place = Place(root, open_url(url))
    ended = threading.Event()
    # Of this schema's writers only: other tests use the same server.
    mine = "locktype = 'advisory' AND objid::bigint = hashtext(current_schema())::bigint & 4294967295"

    def cut() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not ended.is_set():
                connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {mine}".encode())
                time.sleep(0.02)

    thread = threading.Thread(target=cut)
    thread.start()
    failures = rounds = 0
    deadline = time.monotonic() + 60
    try:
        while failures < 3 and time.monotonic() < deadline:
            rounds += 1
            for number in range(150):
                place.write(f"e/r{number:03d}.json", {"metrics": {"n": number, "round": rounds}})
            place.restart()
            try:
                place.collect()
            except StoreDownError:
                failures += 1
    finally:
        ended.set()
        thread.join()
    place.restart()
    place.collect()
    assert failures == 3
    assert [document["metrics"] for document in place.documents()] == [
        {"n": number, "round": rounds} for number in range(150)
    ]
    assert runs_in(url) == [f"r{number:03d}" for number in range(150)]
    place.store.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = postgres.shared()
    with Proxy(server.directory / ".s.PGSQL.5432") as found:
        yield found


def test_a_network_cut_after_any_number_of_bytes_leaves_all_or_nothing(root: Path, url: str, proxy: Proxy) -> None:
    far = url.replace(f"host={postgres.shared().directory}", f"host=127.0.0.1&port={proxy.port}")
    place = Place(root, open_url(far))
    cuts = 0
    for after in range(20, 9_000, sized(1_500, 600)):
        for number in range(5):
            place.write(f"e/r{number}.json", {"metrics": {"n": after}})
        place.restart()
        proxy.cut_after(after)
        try:
            place.collect()
        except StoreDownError:
            cuts += 1
        proxy.cut_after(None)
        place.restart()
        place.collect()
        assert [document["metrics"]["n"] for document in place.documents()] == [after] * 5
    assert cuts > sized(2, 5)
    assert runs_in(url) == [f"r{number}" for number in range(5)]
    place.store.close()


def test_what_cannot_be_is_refused_and_what_may_come_is_waited_for(root: Path, url: str) -> None:
    for part in ("postgres?", "nowhere?"):
        wrong = url.replace("/postgres?", f"/{part}").replace("//postgres@", "//nobody_at_all:secret@")
        with pytest.raises(StoreRefusedError) as refused:
            open_url(wrong)
        assert "secret" not in str(refused.value)
    with pytest.raises(StoreDownError):
        open_url(f"postgresql://postgres@/postgres?host={root}")


def test_eight_collectors_that_start_at_once_on_a_fresh_store_all_come_up(root: Path, url: str) -> None:
    script = (
        "import os, sys; from logferry_collector.store import open_url\n"
        "wait, go = os.pipe()\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0:\n"
        "        os.close(go); os.read(wait, 1)  # until all are there\n"
        "        store = open_url(sys.argv[1]); assert store.counts() == (0, 0); store.close(); os._exit(0)\n"
        "os.close(go)\n"
        "sys.exit(any(os.wait()[1] for _ in range(8)))"
    )
    done = subprocess.run([sys.executable, "-c", script, url], check=False, timeout=60, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_several_collectors_of_one_store_take_in_every_row_once(root: Path, url: str) -> None:
    place = Place(root, open_url(url))
    for number in range(100):
        place.write(f"e/r{number:03d}.json", {"metrics": {"n": number}})
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from support.collecting import Place\n"
        "from logferry_collector.store import open_url; place = Place(Path(sys.argv[2]), open_url(sys.argv[3]))\n"
        "for _ in range(5): place.restart(); place.collect()\n"
        "place.store.close()"
    )
    arguments = [sys.executable, "-c", script, str(Path(__file__).parents[1]), str(root), url]
    others = [subprocess.Popen(arguments) for _ in range(3)]
    for number in range(60):
        place.append("e/all.jsonl", {"run_id": f"s{number:03d}", "metrics": {"n": number}})
        place.write(f"e/r{number:03d}.json", {"metrics": {"n": number}, "status": "COMPLETED"})
    assert [other.wait(60) for other in others] == [0] * 3
    place.ahead_s += 1
    place.restart()
    place.collect()
    assert runs_in(url) == [f"r{number:03d}" for number in range(100)] + [f"s{number:03d}" for number in range(60)]
    assert len(place.documents("status = COMPLETED")) == 60
    place.store.close()


def test_a_store_of_a_later_version_is_refused_and_kept(url: str) -> None:
    open_url(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE logferry_version SET version = 99")
    with pytest.raises(StoreRefusedError, match=r"later logferry \(store version 99"):
        open_url(url)


def test_a_store_without_its_version_is_refused_and_kept(root: Path, url: str) -> None:
    place = Place(root, open_url(url))
    place.write("e/r.json", {})
    place.collect()
    place.store.close()
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM logferry_version")
    with pytest.raises(StoreRefusedError, match="already exists"):
        open_url(url)
    assert runs_in(url) == ["r"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_a_day_is_one_of_utc_whatever_zone_server_and_role_have(root: Path, url: str, zone: str) -> None:
    place = Place(root, open_url(f"{url}%20-ctimezone%3D{zone}"))
    assert list(place.store.ask("SELECT current_setting('timezone')")[1]) == [(zone,)]
    for run, time_ in (("day", ""), ("before", "T00:00:01+00:01"), ("after", "T00:00:01"), ("last", "T23:59:59Z")):
        place.write(f"e/{run}.json", {"timestamp": f"2025-07-30{time_}"})
    place.collect()
    assert place.ids("timestamp = 2025-07-30") == ["after", "day", "last"]
    assert place.ids("timestamp < 2025-07-30") == ["before"]
    assert place.ids("timestamp > 2025-07-30T00:00:00") == ["after", "last"]
    assert place.ids("timestamp = 2025-07-30T00:00:00") == ["day"]
    place.store.close()


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM result",
        "CREATE TABLE x (y int)",
        "SELECT 1; DROP TABLE result",
        "COMMIT; DROP TABLE result",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT setval('s', 1)",
        "SELECT * INTO other FROM result",
        "WITH gone AS (DELETE FROM result RETURNING 1) SELECT * FROM gone",
        "COPY result TO PROGRAM 'cat'",
        "nonsense",
    ],
)
def test_sql_that_would_write_is_refused_by_the_database(url: str, query: str) -> None:
    store = open_url(url)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SEQUENCE s")
    with pytest.raises(QueryError):
        list(store.ask(query)[1])
    columns, rows = store.ask("SELECT count(*) AS n, 'a%s' FROM result")
    assert (columns[0], list(rows)) == ("n", [(0, "a%s")])
    store.close()


def test_a_connection_that_the_server_ended_meanwhile_is_not_asked(url: str) -> None:
    store = open_url(url)
    (idle,) = store.database._pool._idle  # type: ignore[attr-defined]
    postgres.shared().ask(f"SELECT pg_terminate_backend({idle.info.backend_pid}, 10000)")
    assert store.counts() == (0, 0)
    store.close()


def test_a_question_that_takes_too_long_is_ended_by_the_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_ANSWER_MS", 1_000)
    store = open_url(url)
    with pytest.raises(QueryError, match="took longer than 1 s"):
        list(store.ask("SELECT pg_sleep(20)")[1])
    assert store.counts() == (0, 0)
    store.close()


def test_no_order_of_texts_depends_on_the_language_of_the_database(url: str) -> None:
    """`check` and whoever merges compare them as Python does."""
    store = open_url(url)
    ids = "attname IN ('experiment_id', 'run_id', 'status', 'host', 'section', 'name', 'path')"
    tables = "attrelid IN ('result'::regclass, 'candidate'::regclass, 'key'::regclass, 'file'::regclass)"
    free = f"SELECT attrelid::regclass || '.' || attname FROM pg_attribute WHERE {ids} AND {tables}"
    _, found = store.ask(f"{free} AND attcollation != '\"C\"'::regcollation")
    assert list(found) == [("key.path",)]  # which is shown only
    value = Operand(Sql("r.config"), ("model",))
    asked = sql("SELECT pg_collation_for(?) FROM (SELECT '{}'::jsonb AS config) AS r", _text(value))
    assert list(store.database.rows(asked)) == [('"C"',)]  # type: ignore[attr-defined]
    store.close()
