"""`make bench`: what logferry costs, each figure beside a floor or a peer measured in the same run.

`bench.py [GROUP…]` measures some groups only. See README.md beside this for what each figure means.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import calls
import crowd
import fairness
import growth
import latency
import peers
import readers
import resultfiles
import startup
import store
import throughput
from measure import Figure


def groups(options: argparse.Namespace) -> dict[str, Callable[[], list[Figure]]]:
    """Every group with what measures it. The crowd comes first: while it rests, what others read is made."""
    many, few = (40, 15) if not options.quick else (10, 5)
    scale = 1 if not options.quick else 10
    dropped = 10_000 // scale, 100_000 // scale
    ahead: dict[str, Callable[[], object]] = {
        "startup": lambda: startup.prepare(10 / scale),
        "readers": lambda: readers.prepare(1 / scale),
        "resultfiles": lambda: resultfiles.prepare(*dropped),
        "growth": lambda: growth.prepare(scale),
        "store": lambda: store.prepare(100_000 // scale),
    }

    def prepare() -> None:
        for name, make in ahead.items():
            if not options.groups or name in options.groups:
                make()
        os.sync()  # what the disk still has to do would be seen in what is measured next

    return {
        "crowd": lambda: crowd.figures(few, 2 if options.quick else 4, 1_000 // scale, prepare),
        "calls": lambda: calls.figures(many, 10_000_000 // scale),
        "peers": lambda: peers.figures(options.peers, few),
        "startup": lambda: startup.figures(few, 10 / scale),
        "latency": lambda: latency.figures(10 / min(scale, 2)),
        "readers": lambda: readers.figures(1 / scale),
        "resultfiles": lambda: resultfiles.figures(min(few, 4), *dropped),
        "growth": lambda: growth.figures(scale),
        "throughput": lambda: throughput.beside_peers(500_000 // min(scale, 4), options.debian),
        "fairness": lambda: fairness.figures(200 // scale, 4),
        "store": lambda: store.figures(100_000 // scale),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="of: calls peers startup latency readers …")
    parser.add_argument("--json", type=Path, help="write the figures, with their distributions, to this file too")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a first look")
    parser.add_argument("--peers", type=Path, default=Path(sys.executable), help="interpreter that has the peers")
    parser.add_argument("--debian", type=Path, default=Path("/"), help="where system loggers are unpacked")
    options = parser.parse_args()
    known = groups(options)
    unknown = set(options.groups) - set(known)
    if unknown:
        parser.error(f"unknown group {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    for number in (signal.SIGTERM, signal.SIGHUP):  # directories and agents go by what an exit runs
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    found: dict[str, list[Figure]] = {}
    for name in options.groups or known:
        began = time.monotonic()
        found[name] = known[name]()
        show(name, found[name], time.monotonic() - began)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), **_plain(found)}, indent=2, allow_nan=False) + "\n")


def show(group: str, figures: list[Figure], seconds: float) -> None:
    print(f"\n{group} ({seconds:.0f} s)")
    for one in figures:
        value = "" if math.isnan(one.value) else f"{one.value:,.3g}" if one.value < 1000 else f"{one.value:,.0f}"
        verdict = "" if not one.goal else f"{one.goal:>10}  {'holds' if one.holds else 'MISSED'}"
        print(f"  {one.name:<66} {value:>11} {one.unit:<12} {verdict}".rstrip())
        small = [f"{key} {_short(item)}" for key, item in one.details.items() if one.name not in key]
        if small:
            print(f"      {'; '.join(small)}")
    sys.stdout.flush()


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def machine() -> dict[str, Any]:
    return {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}


def _plain(found: dict[str, list[Figure]]) -> dict[str, Any]:
    return {
        group: [{**one._asdict(), "value": None if math.isnan(one.value) else one.value} for one in figures]
        for group, figures in found.items()
    }


if __name__ == "__main__":
    main()
