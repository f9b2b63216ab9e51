"""`logferry tag`, `note` and `rm`: what people change of results afterwards (format: sdk/logferry/edits.py)."""

from __future__ import annotations

import argparse
import re
import time
from typing import Any

from logferry import edits
from logferry.cli import FINE, NO, Parser, UsageError
from logferry.results import RUNNING
from logferry_collector.config import CollectorConfig
from logferry_collector.consolidate import Consolidator
from logferry_collector.discover import Discover
from logferry_collector.output import cell, print_json, print_table
from logferry_collector.query import Reader
from logferry_collector.records import Found
from logferry_collector.results import UnknownRunError
from logferry_collector.verb import answer, complain, doubt, json_option

_RUN = "an id, its beginning or end, or EXPERIMENT/RUN"
# What is no option of the verb: those are written out, but for -h.
_TAG = re.compile(r"\+.+|-(?!-|h$).+", re.DOTALL)
_Run = tuple[str, str]
_TAG_EXAMPLES = """\
examples:
  logferry tag 3f9xk2m7 8d2b71qp +baseline -old
  logferry tag --where 'acc > 0.9 and model = ResNet34' +best
"""
_NOTE_EXAMPLES = """\
examples:
  logferry note 3f9xk2m7 used in figure 3
  logferry note 3f9xk2m7 ''         takes away what people wrote
What the run itself noted stays.
"""
_RM_EXAMPLES = """\
examples:
  logferry rm 3f9xk2m7
  logferry rm --where 'experiment_id = try and status = FAILED'    lists them
  logferry rm --where 'experiment_id = try and status = FAILED' --yes
  logferry rm --restore 3f9xk2m7
What lies in the trash is shown nowhere else; 'logferry prune' deletes it.
"""


def tag(arguments: list[str]) -> int:
    """Put tags on runs, and take them away."""
    parser = Parser("tag", epilog=_TAG_EXAMPLES)
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"{_RUN}; among them +TAG and -TAG")
    _where_option(parser)
    json_option(parser)
    # A tag to be taken away would look like an option.
    wanted = [one for one in arguments if _TAG.fullmatch(one)]
    options = parser.parse_args([one for one in arguments if one not in wanted])
    if not wanted:
        raise UsageError("tag: which tags? +TAG puts one there, -TAG takes it away")
    if bool(options.runs) == (options.where is not None):
        raise UsageError("tag: name runs, or say which with --where")
    return _edit(options, {"tags": {one[1:]: one[0] == "+" for one in wanted}})


def note(arguments: list[str]) -> int:
    """Write something about a run."""
    parser = Parser("note", epilog=_NOTE_EXAMPLES)
    parser.add_argument("run", metavar="RUN", help=_RUN)
    parser.add_argument("text", nargs="+", metavar="TEXT", help="one more line of the run's notes")
    json_option(parser)
    options = parser.parse_args(arguments)
    options.runs, options.where = [options.run], None
    return _edit(options, {"note": " ".join(options.text)})


def rm(arguments: list[str]) -> int:
    """Put runs into the trash, or take them out."""
    parser = Parser("rm", epilog=_RM_EXAMPLES)
    parser.add_argument("runs", nargs="*", metavar="RUN", help=_RUN)
    _where_option(parser)
    parser.add_argument("--yes", action="store_true", help="with --where: do it, instead of listing which it would be")
    parser.add_argument("--restore", action="store_true", help="take them out of the trash")
    parser.add_argument("--list", action="store_true", help="say what lies there")
    json_option(parser)
    options = parser.parse_args(arguments)
    if bool(options.runs) + (options.where is not None) + options.list != 1:
        raise UsageError("rm: name runs, say which with --where, or ask for --list")
    if options.where is not None and options.restore:
        raise UsageError("rm: what lies in the trash is in no result; name the runs to restore, 'rm --list' has them")
    return answer(options, lambda reader: _trash(reader, options))


def _where_option(parser: Parser) -> None:
    parser.add_argument("--where", metavar="WHERE", help="all runs that this means, as for 'logferry results'")


def _trash(reader: Reader, options: argparse.Namespace) -> int:
    if options.list:
        lies = list(edits.trash(reader.home))
        if options.json:
            print_json([{"experiment_id": experiment, "run_id": run} for experiment, run in lies])
        else:
            print_table(["run_id", "experiment_id"], [(run, experiment) for experiment, run in lies], whole=["run_id"])
        return FINE
    if options.restore:
        there = list(edits.trash(reader.home))
        runs = [_in_trash(there, text) for text in options.runs]
    else:
        documents = _meant(reader, options)
        for document in documents:
            if document.get("status") == RUNNING:
                raise UsageError(f"rm: run {document['run_id']} is still RUNNING; end it first")
        runs = _ids(documents)
        if options.where is not None and not options.yes:
            shown = ("run_id", "experiment_id", "status", "tags", "notes")
            if options.json:
                print_json([{name: document.get(name) for name in shown} for document in documents])
            else:
                print_table(shown, [[document.get(name) for name in shown] for document in documents], whole=shown[:2])
            complain(f"{len(runs)} runs would go into the trash; --yes puts them there")
            return NO
    code = _write(reader, runs, {"removed": not options.restore})
    if options.json:
        print_json([{"experiment_id": experiment, "run_id": run} for experiment, run in runs])
    elif code == FINE:
        for run in runs:
            name = cell("/".join(run))
            print(f"{name} is back" if options.restore else f"{name} is in the trash; --restore takes it out")
    return code


def _edit(options: argparse.Namespace, edit: dict[str, Any]) -> int:
    """Write an edit of some runs, and say what they have now."""

    def question(reader: Reader) -> int:
        runs = _ids(_meant(reader, options))
        code = _write(reader, runs, edit)
        documents = reader.runs(map("/".join, runs))
        shown = ("experiment_id", "run_id", "tags", "notes")
        if options.json:
            print_json([{name: document.get(name) for name in shown} for document in documents])
        elif code == FINE:
            for document in documents:
                tags, notes = ", ".join(map(str, document.get("tags") or [])), document.get("notes") or ""
                print(
                    f"{cell(document['experiment_id'])}/{cell(document['run_id'])}  tags: {cell(tags)}  {cell(notes)}"
                )
        return code

    return answer(options, question)


def _meant(reader: Reader, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the results that are named, or for which the condition holds.

    Raises:
        UnknownRunError: there is none.

    """
    if options.where is None:
        return reader.runs(options.runs)
    found = reader.results(options.where)
    documents = list(found)
    if not documents:
        doubt(found, nothing_found=True)
        raise UnknownRunError(f"no results match {options.where!a}")
    return documents


def _ids(documents: list[dict[str, Any]]) -> list[_Run]:
    return list(dict.fromkeys((document["experiment_id"], document["run_id"]) for document in documents))


def _in_trash(there: list[_Run], text: str) -> _Run:
    """Return the one run in the trash that a text means.

    Raises:
        UnknownRunError: none, or several.

    """
    found = [run for run in there if text in {run[1], "/".join(run)}]
    found = found or [run for run in there if run[1].startswith(text) or run[1].endswith(text)]
    if len(found) == 1:
        return found[0]
    some = ", ".join("/".join(run) for run in found[:4])
    raise UnknownRunError(f"{text!a} may be any of {some}" if found else f"no run {text!a} in the trash; see rm --list")


def _write(reader: Reader, runs: list[_Run], edit: dict[str, Any]) -> int:
    """Write an edit of each run, and take it into the store at once, whether or not a collector runs."""
    paths, code = [], FINE
    for run in runs:
        try:
            paths.append(str(edits.write(reader.home, *run, edit)))
        except OSError as error:
            complain(f"{reader.home.results}: {error.strerror}; {'/'.join(run)} stays as it is")
            code = NO
    reading = CollectorConfig().reading  # edits are JSON, whatever the configuration says of other formats
    consolidator = Consolidator(
        reader.store,
        Discover([], {}, time.time_ns),
        settle_s=0,
        batch_files=max(1, len(runs)),
        clock_ns=time.time_ns,
        reading=reading,
    )
    consolidator.take([Found(path, str(reader.home.results)) for path in paths])
    return code
