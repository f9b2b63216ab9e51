"""Where logferry's directories are and what a job uses: argument, environment, file, default, in this order.

The file is TOML, named by `LOGFERRY_CONFIG`. Its top level has the keys of `Settings`; the tables `[agent]` and
`[collector]` belong to those programs, which check them with models of their own. An unknown key is an error that
names it, because a misspelt key that is silently ignored is found out too late.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from logferry.events import DEBUG, level_number

PROGRAMS = ("agent", "collector")


class SettingsError(ValueError):
    """A setting is unknown, of a wrong type or out of range; the message names file or variable, and key."""


class Settings(NamedTuple):
    """What every part of logferry needs to know; see docs/configuration.md."""

    node_dir: Path
    home: Path
    agent: str | None = None  # ZeroMQ address; None: the socket in the node directory
    store: str | None = None  # URL or path of the results store; None: in the home
    level: int = DEBUG
    run_id: str | None = None
    spool_bytes: int = 64 << 20
    config: Path | None = None


_VARIABLES = {
    "node_dir": "LOGFERRY_NODE_DIR",
    "home": "LOGFERRY_HOME",
    "agent": "LOGFERRY_AGENT",
    "store": "LOGFERRY_STORE",
    "level": "LOGFERRY_LEVEL",
    "run_id": "LOGFERRY_RUN_ID",
}
_MIN_SPOOL_BYTES = 256 << 10


def load(environment: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
    """Return the settings in force.

    Args:
        environment: in place of `os.environ`.
        arguments: fields of `Settings` that were given explicitly; None counts as not given.

    Raises:
        SettingsError: names the file or variable, the key, and what is allowed.

    """
    env = os.environ if environment is None else environment
    config = arguments.get("config") or env.get("LOGFERRY_CONFIG") or None
    found: dict[str, tuple[Any, str]] = {
        "node_dir": (f"/var/tmp/logferry-{os.geteuid()}", "default"),  # noqa: S108 - checked by prepare_node_dir
        "home": ("~/.local/state/logferry", "default"),
    }
    if config:
        path = Path(config).expanduser()
        found["config"] = (path, "LOGFERRY_CONFIG")
        table = _read(path)
        found.update((key, (value, str(path))) for key, value in table.items() if key not in PROGRAMS)
    found.update((key, (env[name], name)) for key, name in _VARIABLES.items() if env.get(name))
    found.update((key, (value, "argument")) for key, value in arguments.items() if value is not None)
    return Settings(**{key: _checked(key, value, source) for key, (value, source) in found.items()})


def program_table(config: Path | None, program: str) -> dict[str, Any]:
    """Return the table `[agent]` or `[collector]` of the configuration file, unchecked; empty without one."""
    table: dict[str, Any] = _read(config).get(program, {}) if config else {}
    return table


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - most jobs have no file

    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; LOGFERRY_CONFIG names the configuration file") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise SettingsError(f"{path}: not TOML: {error}") from error
    known = set(Settings._fields) - {"config"} | set(PROGRAMS)
    for key in table:
        if key not in known:
            raise SettingsError(f"{path}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    for program in PROGRAMS:  # a string would be taken for the agent's address, which the file has no key for
        if not isinstance(table.get(program, {}), dict):
            raise SettingsError(f"{path}: {program} is not a table; write [{program}]")
    return table


def _checked(key: str, value: Any, source: str) -> Any:
    if key in {"node_dir", "home", "config"}:
        if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
            raise SettingsError(f"{source}: {key} is {value!a}, expected a path")
        try:
            return Path(os.path.abspath(Path(value).expanduser()))
        except RuntimeError as error:  # ~name of nobody
            raise SettingsError(f"{source}: {key} is {value!a}: {error}") from error
    if key == "level":
        try:
            return level_number(value)
        except ValueError as error:
            raise SettingsError(f"{source}: {error}") from error
    if key == "spool_bytes":
        if not isinstance(value, int) or value < _MIN_SPOOL_BYTES:
            raise SettingsError(f"{source}: spool_bytes is {value!r}, expected at least {_MIN_SPOOL_BYTES}")
        return value
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{source}: {key} is {value!a}, expected a string that is not empty")
    return value
