"""`logferry store`: copy a store, check it, or rebuild it from the result files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import cast

from logferry.cli import FINE, NO, Parser, UsageError, printable, settings_of
from logferry.layout import Home
from logferry_collector.config import load_config
from logferry_collector.consolidate import exists
from logferry_collector.output import print_json
from logferry_collector.running import AlreadyRunningError, sole_collector
from logferry_collector.store import StoreDownError, StoreRefusedError, open_url, url_of
from logferry_collector.store.relational import Relational
from logferry_collector.store.upkeep import copy, forget, gone_with_rows, problems
from logferry_collector.takein import TakeIn
from logferry_collector.verb import complain, json_option

_EXAMPLES = """\
copy FROM TO   all of a store into an empty one
check          is what is shown what the files said; exit 1 when not
rebuild        read all result files of the home again
examples:
  logferry store copy ~/.local/state/logferry/store/results.db copy.db
  logferry store copy results.db postgresql://user@host/results
"""


def store(arguments: list[str]) -> int:
    """Copy, check or rebuild a store."""
    parser = Parser("store", epilog=_EXAMPLES)
    parser.add_argument("verb", choices=("copy", "check", "rebuild"), help="see below")
    parser.add_argument("urls", nargs="*", metavar="URL", help="of copy: from and to, a path or postgresql://…")
    parser.add_argument("--forget", action="store_true", help="rebuild without the rows of files that are gone")
    json_option(parser)
    options = parser.parse_args(arguments)
    if len(options.urls) != (2 if options.verb == "copy" else 0):
        raise UsageError("store: 'copy' needs FROM and TO; 'check' and 'rebuild' are about the store in force")
    settings = settings_of(options)
    home, url = Home(settings.home), url_of(settings)
    try:
        if options.verb == "copy":
            return _copy(*options.urls, as_json=options.json)
        if options.verb == "check":
            return _check(url, as_json=options.json)
        with sole_collector(home, url):
            return _rebuild(url, home, settings.config, forgetting=options.forget, as_json=options.json)
    except StoreRefusedError as error:
        raise UsageError(str(error)) from error
    except (StoreDownError, AlreadyRunningError) as error:
        complain(str(error))
        return NO


def _copy(source: str, target: str, *, as_json: bool) -> int:
    if "://" not in source and not Path(source).exists():
        raise UsageError(f"store {source} does not exist")
    with closing(_open(source)) as ours, closing(_open(target)) as theirs:
        copied = copy(ours, theirs)
        if as_json:
            print_json({"results": copied, "store": theirs.url})
        else:
            print(f"{copied} results copied to {printable(theirs.url)}")
    return FINE


def _check(url: str, *, as_json: bool) -> int:
    with closing(_open(url)) as found:
        wrong = list(problems(found))
        results, rejects = found.counts()
        if as_json:
            print_json({"results": results, "rejects": rejects, "problems": wrong})
        else:
            for problem in wrong:
                print(printable(problem))
            end = "all as the files have it" if not wrong else "'logferry store rebuild' reads the files again"
            print(f"{results} results, {rejects} rejects, {len(wrong)} problems in {printable(found.url)}; {end}")
    return NO if wrong else FINE


def _rebuild(url: str, home: Home, config: Path | None, *, forgetting: bool, as_json: bool) -> int:
    below = f"{home.results}/"
    with closing(_open(url)) as found:
        gone = [name for name in gone_with_rows(found, below) if not exists(name)]
        if gone and not forgetting:
            complain(f"{len(gone)} files are gone whose rows are kept, {gone[0]} first; --forget rebuilds without them")
            return NO
        forget(found, below)
        taken = TakeIn(found, home, load_config(config))()
        results, rejects = found.counts()
        if as_json:
            print_json({"files": taken, "results": results, "rejects": rejects, "forgotten": gone})
        else:
            print(f"{taken} files read; {results} results, {rejects} rejects in {printable(found.url)}")
    return FINE


def _open(url: str) -> Relational:
    return cast(Relational, open_url(url))
