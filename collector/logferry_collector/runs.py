"""`logferry runs`: which runs there are, and how they ended."""

from __future__ import annotations

from typing import Any

from logferry.cli import FINE, Parser
from logferry.results import STATUSES
from logferry_collector.output import print_json, print_table
from logferry_collector.query import Reader
from logferry_collector.silence import LOST
from logferry_collector.verb import answer, count, doubt, json_option

_FIELDS = ("run_id", "experiment_id", "status", "exit", "started", "duration_s", "host")
_MORE = ("timestamp", "group", "attempt")
# What says most of an end first: a code is shown only where nothing else is known.
_SAYS = ("exception", "reason", "signal", "code")
_EXAMPLES = """\
examples:
  logferry runs --limit 10
  logferry runs --status LOST
  logferry runs 'experiment_id = exp042 and started > -1d and not tags has old'
"""
# An exception's message may be a page.
_EXIT_CHARS = 40


def runs(arguments: list[str]) -> int:
    """List runs, those that started last first."""
    parser = Parser("runs", epilog=_EXAMPLES)
    parser.add_argument("where", nargs="*", metavar="WHERE", help="which, as for 'logferry results'")
    parser.add_argument("--status", choices=(*STATUSES, LOST), type=str.upper, help="LOST: its host fell silent")
    parser.add_argument("--limit", type=count, metavar="N", help="at most N")
    json_option(parser)
    options = parser.parse_args(arguments)
    where = " ".join(options.where)
    if options.status:
        where = f"({where}) and status = {options.status}" if where else f"status = {options.status}"

    def question(reader: Reader) -> int:
        found = reader.results(where, sort="started", desc=True, limit=options.limit)
        documents = list(found)
        if options.json:
            print_json([{name: document.get(name) for name in _FIELDS + _MORE} for document in documents])
        else:
            rows = [[_short(name, document.get(name)) for name in _FIELDS] for document in documents]
            print_table(_FIELDS, rows, whole=_FIELDS[:2])
        doubt(found, nothing_found=not documents)
        return FINE

    return answer(options, question)


def _short(name: str, value: Any) -> Any:
    """Return what a list of runs needs of a value: seconds, an end in a few words."""
    if name == "exit":
        return in_short(value)
    if name == "started" and isinstance(value, str):
        return value.partition(".")[0].rstrip("Z").replace("T", " ")
    return f"{value:.1f}" if name == "duration_s" and isinstance(value, int | float) else value


def in_short(how: Any) -> str | None:
    """Return how a run ended in a few words: an exception, "oom", a signal, "code 3"; None where nothing is to say."""
    if not isinstance(how, dict):
        return None
    key = next((key for key in _SAYS if how.get(key) is not None), "")
    if key == "reason" and how[key] == "vanished":  # the signal or code says more
        key = next((other for other in ("signal", "code") if other in how), key)
    said = str(how.get(key, "")).partition("\n")[0]
    said = f"code {said}" if key == "code" else said
    return said if len(said) <= _EXIT_CHARS else f"{said[: _EXIT_CHARS - 1]}…"
