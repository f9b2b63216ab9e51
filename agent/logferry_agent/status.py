"""Verb `status`: is it up, what is connected, queued, durable, written, held.

Asks the agent; without one it says what lies on the disk, without taking any lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from logferry import spool
from logferry.cli import FINE, NO, Parser, printable, settings_of
from logferry.layout import MEMORY_FILESYSTEMS, Home, NodeDir, filesystem_type, host_name, read_plain
from logferry.settings import Settings
from logferry_agent.asking import ask

_COLUMNS = ("producer", "experiment_id", "run_id", "pid", "expected", "durable", "written", "shed", "state")


def status(arguments: list[str]) -> int:
    """Verb: print the status; exit code 0 when the agent is up."""
    parser = Parser("status")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    settings = settings_of(options)
    agent = ask(settings, "status", {}) or _on_disk(settings)
    for one in agent["producers"]:
        # The producer's own page has the count at once; the agent learns it with the next gap marker.
        one["shed"] = sum(_head(NodeDir(settings.node_dir).spool / one["producer"]).shed.values())
    found = {"agent": agent, "collector": _collector(Home(settings.home))}
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    return FINE if agent["up"] else NO


def _on_disk(settings: Settings) -> dict[str, Any]:
    """Return what can be said without an agent, or of one that does not answer."""
    node = NodeDir(settings.node_dir)
    kind = filesystem_type(node.path)
    holder = spool.lock_holder(node.lock)
    silent = {"what": "agent", "path": str(node.socket), "error": f"pid {holder} does not answer"}
    return {
        "up": False,
        "pid": holder,
        "node_dir": str(node.path),
        "home": str(settings.home),
        "node_filesystem": kind,
        "survives_reboot": kind not in MEMORY_FILESYSTEMS,
        "producers": _spools(node.spool),
        "journal_bytes": _size(node.journal),
        "held": [silent] if holder else [],
    }


def _spools(root: Path) -> list[dict[str, Any]]:
    try:
        names = sorted(name for name in os.listdir(root) if not name.startswith("."))
    except OSError:
        return []
    return [_spool(root / name) for name in names]


def _spool(path: Path) -> dict[str, Any]:
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        about = spool.read_about(path)
        known = about if isinstance(about, dict) else {}
    return {
        "producer": path.name,
        "experiment_id": known.get("experiment_id"),
        "run_id": known.get("run_id"),
        "pid": spool.lock_holder(path / "lock"),
        "durable": _head(path).acked_through,
        "spool_bytes": _size(path),
    }


def _head(path: Path) -> spool.Head:
    try:
        return spool.read_head(path)
    except OSError:
        return spool.Head(0, 0, {})


def _size(directory: Path) -> int:
    try:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(directory))
    except OSError:
        return 0


def _collector(home: Home) -> dict[str, Any]:
    path = home.agents / f"{host_name()}.collector.json"
    try:
        said = json.loads(read_plain(path))
        said["up"] = _is_running(int(said["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return {"up": False}
    return dict(said)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _show(found: dict[str, Any]) -> None:
    agent, collector = found["agent"], found["collector"]
    lines = [f"agent      {_agent_line(agent)}", f"node       {agent['node_dir']} ({agent['node_filesystem']})"]
    if not agent["survives_reboot"]:
        lines.append("           in memory: what is durable there does not outlive the machine")
    lines.append(f"home       {agent['home']}")
    lines += [f"           jobs name another home: {home}" for home in agent.get("other_homes", ())]
    lines.append(f"collector  {'up, pid ' + str(collector['pid']) if collector['up'] else 'not running'}")
    lines.append(f"journal    {agent['journal_bytes']:,} bytes")
    if agent["up"]:
        lines.append(f"queued     {agent['queued_bytes']:,} bytes; producers connected: {agent['connected']}")
    lines += [f"refused    {count} frames: {reason}" for reason, count in agent.get("refused", {}).items()]
    unknown = agent.get("writer", {}).get("unknown_events")
    lines += [f"unknown    {unknown} events of producers that the journal does not know"] if unknown else []
    held = agent["held"] + collector.get("held", [])
    lines += [f"held       {one['what']}: {one['path']}: {one['error']}{_since(one)}" for one in held]
    print("\n".join(map(printable, lines)))
    _show_producers(agent["producers"])


def _agent_line(agent: dict[str, Any]) -> str:
    if agent["up"]:
        return f"up, pid {agent['pid']}, for {agent['uptime_s']} s, {agent['memory_bytes'] >> 20} MiB of memory"
    if agent["pid"]:
        return f"pid {agent['pid']} runs and does not answer"
    return "not running; start it with: logferry agent"


def _since(problem: dict[str, Any]) -> str:
    since_ns = problem.get("since_ns")
    return f" (since {datetime.fromtimestamp(since_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC)" if since_ns else ""


def _show_producers(producers: list[dict[str, Any]]) -> None:
    if not producers:
        return
    rows = [[printable(str(_cell(one, column))) for column in _COLUMNS] for one in producers]
    print()
    if sys.stdout.isatty():
        _show_table(rows)
        return
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for row in [list(_COLUMNS), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _show_table(rows: list[list[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import, needed on terminals only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*_COLUMNS)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _cell(one: dict[str, Any], column: str) -> Any:
    if column == "state":
        if "connected" in one:
            return "connected" if one["connected"] else "ended" if one["sealed"] else "not connected"
        return "alive" if one["pid"] else "waits for an agent"
    value = one.get(column)
    return "-" if value is None else value
