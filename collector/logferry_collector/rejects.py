"""`logferry rejects`: result files that were refused, and why. They are read again when they change."""

from __future__ import annotations

from logferry.cli import FINE, Parser, printable
from logferry_collector.output import print_json
from logferry_collector.query import Reader
from logferry_collector.verb import answer, json_option, plain, refusal


def rejects(arguments: list[str]) -> int:
    """List what was refused; a line where only that was."""
    parser = Parser("rejects", epilog="each is read again when its file changes: mend the file, and it is a result")
    json_option(parser)
    options = parser.parse_args(arguments)

    def question(reader: Reader) -> int:
        found = reader.rejects()
        if options.json:
            print_json([plain(path, one) for path, one in found])
        else:
            for path, one in found:
                print(printable(refusal(path, one)))
        return FINE

    return answer(options, question)
