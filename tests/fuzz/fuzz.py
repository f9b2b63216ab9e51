"""`make fuzz`: mutated frames, spools, journals, result files and running logs; nothing may raise, hang or grow.

With atheris the mutations are guided by coverage; without it they are plain, from one seed. Each target runs in a
process of its own; one that fails is begun anew with what is left of its inputs, its input kept in `--keep`. The last
line says how many inputs each target had, what failed, and the seed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from targets import TARGETS  # noqa: E402

_PACKAGES = ["logferry", "logferry_agent", "logferry_collector"]
_HANG_S = 20
# Files of a moment; a disk would be what is measured.
_MEMORY = "/dev/shm"
# What may be in memory beside what was there after the first thousands of inputs: the guide's own corpus.
_GROWTH_BYTES = {"guided": 600 << 20, "plain": 48 << 20}
_SETTLED_INPUTS = 5_000
_MOST_FAILURES = 20
_ROUND_INPUTS = 20_000


class TooLargeError(Exception):
    """Memory grew with the number of inputs."""


class Memory:
    """Looks at the process's memory every so many inputs."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._inputs = self._base = 0
        self.grown = 0

    def look(self) -> None:
        self._inputs += 1
        if self._inputs % _SETTLED_INPUTS:
            return
        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self._base = self._base or now
        self.grown = now - self._base
        if self.grown > self._limit_bytes:
            raise TooLargeError(f"{self.grown >> 20} MiB more after {self._inputs} inputs")


def plain(name: str, inputs: int, seed: int) -> None:
    """Run a target on plain mutations; the failing input is written where the one of a guided run would be."""
    from mutation import Mutator

    target = importlib.import_module(TARGETS[name].module)
    seeds = target.seeds()
    memory, mutator = Memory(_GROWTH_BYTES["plain"]), Mutator(seeds, random.Random(seed))
    for number in range(inputs):
        data = seeds[number] if number < len(seeds) else mutator.next()
        start = time.monotonic()
        try:
            target.check(data)
            memory.look()
        except BaseException:
            Path(f"crash-{name}-{number}").write_bytes(data)
            print(f"stat::number_of_executed_units: {number + 1}", file=sys.stderr)
            raise
        assert time.monotonic() - start < _HANG_S, f"input {number} took {time.monotonic() - start:.0f} s"
    print(f"stat::number_of_executed_units: {inputs}", file=sys.stderr)
    print(f"memory grew by {memory.grown >> 10} KiB", file=sys.stderr)


def guided(name: str, inputs: int, seed: int, corpus: str) -> None:
    """Run a target under atheris; does not return."""
    import atheris

    with atheris.instrument_imports(include=_PACKAGES):
        target = importlib.import_module(TARGETS[name].module)
    for number, data in enumerate(target.seeds()):
        Path(corpus, f"seed-{number}").write_bytes(data)
    memory = Memory(_GROWTH_BYTES["guided"])

    def check(data: bytes) -> None:
        target.check(data)
        memory.look()

    options = {"runs": inputs, "seed": seed or 1, "max_len": 32 << 10, "timeout": _HANG_S, "rss_limit_mb": 4096}
    options |= {"len_control": 0, "print_final_stats": 1, "verbosity": 0, "artifact_prefix": "./"}
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), corpus], check)
    atheris.Fuzz()


def one(name: str, inputs: int, seed: int, way: str, keep: Path) -> tuple[int, list[str]]:
    """Run one target to its number of inputs, in rounds that share a corpus; return how many, and what failed."""
    done, rounds, failures = 0, 0, list[str]()
    with tempfile.TemporaryDirectory(prefix="lf-fuzz-", dir=_MEMORY if os.path.isdir(_MEMORY) else None) as own:
        corpus = Path(own, "corpus")
        corpus.mkdir()
        while done < inputs and len(failures) < _MOST_FAILURES:
            command = [sys.executable, __file__, "--run", name, "--inputs", str(min(inputs - done, _ROUND_INPUTS))]
            command += ["--corpus", str(corpus), "--seed", str(seed + rounds), *(["--plain"] if way == "plain" else [])]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
            ran = subprocess.run(command, cwd=keep, env=os.environ | {"TMPDIR": own}, check=False, **pipes)
            counts = re.findall(r"number_of_executed_units: (\d+)", ran.stdout)
            done += int(counts[-1]) if counts else 0
            rounds += 1
            if ran.returncode or not counts:
                failures.append(f"{name}: {_why(ran.stdout)}")
                (keep / f"{name}-{len(failures)}.txt").write_text(ran.stdout[-20_000:])
                print(f"FAILED {failures[-1]}", flush=True)
            print(f"{name}: {done} of {inputs}", flush=True)
    return done, failures


def _why(said: str) -> str:
    """Return the last line of a traceback, and the line of code before it."""
    found = re.findall(r"^(?:.*Uncaught Python exception: ===\s*)?([\w.]+(?:Error|Exception)\b.*)$", said, re.MULTILINE)
    where = re.findall(r'File "(?:.*/)?([^"/]+)", line (\d+), in (\w+)', said)
    summary = re.findall(r"SUMMARY: (.*)", said)
    return f"{(found or summary or ['?'])[-1][:200]} at {':'.join(where[-1]) if where else '?'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--plain", action="store_true", help="without coverage as a guide")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "logferry-fuzz")
    parser.add_argument("--run", choices=TARGETS, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1, 1 << 31) if options.seed is None else options.seed
    if options.run:
        logging.disable()
        if options.plain:
            plain(options.run, options.inputs, seed)
        else:
            guided(options.run, options.inputs, seed, options.corpus)
        return 0
    way = "plain" if options.plain or importlib.util.find_spec("atheris") is None else "guided"
    options.keep.mkdir(parents=True, exist_ok=True)
    chosen = options.target or list(TARGETS)
    whole = sum(TARGETS[name].of_a_million for name in chosen)
    counts, failures = {}, []
    for name in chosen:
        counts[name], failed = one(name, options.inputs * TARGETS[name].of_a_million // whole, seed, way, options.keep)
        failures += failed
    shown = ", ".join(f"{name} {count}" for name, count in counts.items())
    kind = "coverage-guided (atheris)" if way == "guided" else "plain"
    print(f"fuzz: {sum(counts.values())} inputs, {kind}: {shown}; failures {len(failures)}; seed {seed}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
