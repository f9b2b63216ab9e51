"""`logferry ingest`: take in files once, wherever they lie."""

from __future__ import annotations

import os
import time
from pathlib import Path

from logferry.cli import FINE, NO, Parser, UsageError, settings_of
from logferry.layout import Home
from logferry_collector.config import CollectorConfig, load_config
from logferry_collector.consolidate import Consolidator
from logferry_collector.discover import Discover
from logferry_collector.output import print_json
from logferry_collector.records import Found, Reject
from logferry_collector.store import Store, StoreDownError, StoreRefusedError, open_url, url_of
from logferry_collector.verb import complain, json_option, plain, refusal


def ingest(arguments: list[str]) -> int:
    """Take in files and directories; say which were refused."""
    parser = Parser("ingest", epilog="below a directory, the first directory names the experiment of what names none")
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="a result file, or a directory of them")
    json_option(parser)
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    for path in options.paths:
        if not os.path.lexists(path):
            raise UsageError(f"{path} does not exist")
    try:
        store = open_url(url_of(settings))
        try:
            taken = _take(store, options.paths, Home(settings.home), load_config(settings.config))
            return _tell(*taken, as_json=options.json)
        finally:
            store.close()
    except StoreRefusedError as error:
        raise UsageError(str(error)) from error
    except StoreDownError as error:
        complain(str(error))
        return NO


def _take(
    store: Store, paths: list[Path], home: Home, config: CollectorConfig
) -> tuple[int, int, list[tuple[str, Reject]]]:
    """Take in what is there; return how many files that were, how many changes, and what was refused."""
    # Nothing is known, so that everything is looked at; what the store has already is not taken in twice.
    discover = Discover([], {}, time.time_ns)
    # Who names a file says that it is whole.
    consolidator = Consolidator(
        store, discover, settle_s=0, batch_files=config.batch_files, clock_ns=time.time_ns, reading=config.reading
    )
    found = [one for path in paths for one in _below(path, home)]
    taken = consolidator.take(found)
    looked_at = {one.path for one in found}
    return len(looked_at), taken, [(path, reject) for path, reject in store.rejects() if path in looked_at]


def _tell(files: int, changes: int, refused: list[tuple[str, Reject]], *, as_json: bool) -> int:
    if as_json:
        print_json({"files": files, "changes": changes, "refused": [plain(path, reject) for path, reject in refused]})
    else:
        for path, reject in refused:
            complain(refusal(path, reject))
        print(f"{files} files looked at, {changes} changes taken in, {len(refused)} refused")
    return NO if refused else FINE


def _below(path: Path, home: Home) -> list[Found]:
    absolute = os.path.abspath(path)
    results = str(home.results)
    if os.path.isdir(absolute) and not os.path.islink(absolute):
        found = Discover([absolute], {}, time.time_ns).scan()
    else:
        found = [Found(absolute, os.path.dirname(absolute))]
    # What lies in the home is named as the collector names it.
    return [Found(one.path, results if one.path.startswith(results + "/") else one.base, one.problem) for one in found]
