"""`logferry ingest`: take in files once, wherever they lie, and say what was taken and what was not."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from logferry.cli import FINE, NO, Parser, UsageError, printable, settings_of
from logferry.layout import Home, safe_component
from logferry_collector.account import Account
from logferry_collector.config import CollectorConfig, load_config
from logferry_collector.consolidate import Consolidator
from logferry_collector.discover import Discover
from logferry_collector.formats import format_of
from logferry_collector.output import print_json
from logferry_collector.records import Found, Reject
from logferry_collector.store import Store, StoreDownError, StoreRefusedError, open_url, url_of
from logferry_collector.verb import complain, json_option, plain, refusal

_EXAMPLES = """\
examples:
  logferry ingest table.csv --experiment exp042
  logferry ingest old-project/results
Of a directory, the directories directly in it name the experiments of what
names none itself. docs/results.md says which formats there are, and which
columns are settings and which outcomes.
"""
# More lines than this nobody reads; 'logferry rejects' has all.
_MAX_TOLD = 20


@dataclass(frozen=True, slots=True)
class _Report:
    """What came of it; `others`: endings of files that no format reads."""

    files: int
    changes: int
    account: Account
    refused: list[tuple[str, Reject]]
    others: Counter[str]


def ingest(arguments: list[str]) -> int:
    """Take in files and directories; say which were refused."""
    parser = Parser("ingest", epilog=_EXAMPLES)
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="a result file, or a directory of them")
    parser.add_argument("--experiment", metavar="ID", default="", help="of what names none itself")
    json_option(parser)
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    for path in options.paths:
        if not os.path.lexists(path):
            raise UsageError(f"{path} does not exist")
    try:
        if options.experiment:
            safe_component(options.experiment, "experiment id")
        store = open_url(url_of(settings))
        try:
            found = [one for path in options.paths for one in _below(path, Home(settings.home), options.experiment)]
            report = _take(store, found, load_config(settings.config), sum(map(_others, options.paths), Counter()))
        finally:
            store.close()
    except (StoreRefusedError, ValueError) as error:
        raise UsageError(str(error)) from error
    except StoreDownError as error:
        complain(str(error))
        return NO
    _tell(report, as_json=options.json)
    return NO if report.refused else FINE


def _below(path: Path, home: Home, experiment: str) -> list[Found]:
    absolute = os.path.abspath(path)
    results = str(home.results)
    if os.path.isdir(absolute) and not os.path.islink(absolute):
        found = Discover([absolute], {}, time.time_ns).scan()
    else:
        found = [Found(absolute, os.path.dirname(absolute))]
    # What lies in the home is named as the collector names it.
    return [
        replace(one, base=results) if one.path.startswith(results + "/") else replace(one, experiment=experiment)
        for one in found
    ]


def _others(path: Path) -> Counter[str]:
    """Count the files below a directory that no format reads, by their endings."""
    endings: Counter[str] = Counter()
    for _, directories, names in os.walk(path):
        directories[:] = [name for name in directories if not name.startswith(".")]
        unread = (name for name in names if not name.startswith(".") and format_of(name) is None)
        endings.update(os.path.splitext(name)[1].lower() or "no ending" for name in unread)
    return endings


def _take(store: Store, found: list[Found], config: CollectorConfig, others: Counter[str]) -> _Report:
    # Nothing is known, so that everything is looked at; what the store has already is not taken in twice.
    discover = Discover([], {}, time.time_ns)
    consolidator = Consolidator(
        store,
        discover,
        settle_s=0,  # who names a file says that it is whole
        batch_files=config.batch_files,
        clock_ns=time.time_ns,
        reading=config.reading,
    )
    consolidator.account = Account(names=True)
    taken = 0
    with _progress(len(found)) as advance:
        for start in range(0, len(found), config.batch_files):
            part = found[start : start + config.batch_files]
            taken += consolidator.take(part)
            advance(len(part))
    looked_at = {one.path for one in found}
    refused = [(path, reject) for path, reject in store.rejects() if path in looked_at]
    return _Report(len(looked_at), taken, consolidator.account, refused, others)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show how far it is, where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe does not need it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)


def _tell(report: _Report, *, as_json: bool) -> None:
    reasons = Counter(reject.fault.value for _, reject in report.refused)
    account = report.account
    if as_json:
        print_json(
            {
                "files": report.files,
                "changes": report.changes,
                "rows": account.rows,
                "experiments": dict(account.experiments.most_common()),
                "refused": [plain(path, reject) for path, reject in report.refused],
                "reasons": dict(reasons.most_common()),
                "without_metrics": dict(account.without_metrics),
                "stepwise": dict(account.stepwise),
                "hiding": [{"files": files, "rows": count} for files, count in account.hiding.most_common()],
                "others": dict(report.others.most_common()),
            }
        )
        return
    _complain(report.refused)
    why = f" ({_counted(reasons)})" if reasons else ""
    print(
        f"{report.files} files looked at, {report.changes} changes taken in with {account.rows} rows, "
        f"{len(report.refused)} refused{why}"
    )
    if account.experiments:
        print(f"rows by experiment: {_counted(account.experiments, '{0} ({1})')}")
    if account.stepwise:
        print(
            f"{_where(account.stepwise)} have a step or an epoch: the rows of one run's history are no results, "
            "and a mean over them says nothing; 'logferry rm' puts them away"
        )
    if account.without_metrics:
        print(
            f"{_where(account.without_metrics)} have no metrics: [collector.columns] says what outcomes of other "
            "names are called, 'logferry rm' puts away what is no result"
        )
    for (one, other), count in account.hiding.most_common(3):
        print(
            f"{count} rows of {printable(other)} have the names of rows of {printable(one)}, and the newer are shown: "
            "a column run_id tells them apart"
        )
    if report.others:
        print(f"of no known format: {_counted(report.others)}")


def _complain(refused: list[tuple[str, Reject]]) -> None:
    """Say what was refused, the same reason once."""
    alike: dict[tuple[str, str], list[tuple[str, Reject]]] = {}
    for path, reject in refused:
        alike.setdefault((reject.fault, reject.reason), []).append((path, reject))
    for same in list(alike.values())[:_MAX_TOLD]:
        more = f" (and {len(same) - 1} more for the same reason)" if len(same) > 1 else ""
        complain(refusal(*same[0]) + more)
    if len(alike) > _MAX_TOLD or len(alike) < len(refused):
        complain("'logferry rejects' lists all")


def _where(counts: Counter[str]) -> str:
    files = f"{len(counts)} files, {printable(next(iter(counts)))} first," if len(counts) > 1 else next(iter(counts))
    return f"{counts.total()} rows of {printable(files)}"


def _counted(counts: Counter[str], form: str = "{1} {0}") -> str:
    shown = [form.format(printable(what), count) for what, count in counts.most_common(8)]
    return ", ".join(shown) + (" …" if len(counts) > len(shown) else "")
