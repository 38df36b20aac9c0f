"""How a command finds etcd: command line, environment, then hamgrd's own settings file.

Only the keys `cluster` and `etcd` of that file matter here and they are read by hand: hamgrd checks the whole file with
pydantic, whose import alone would take half of the time that `hamgr status` may.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamgr.api.exits import Exit
from hamgr.cli.exits import CommandError

if TYPE_CHECKING:
    import click

    from hamgr.fencer.programs import Programs
    from hamgr.store.config import StoreConfig
    from hamgr.store.store import Store

DEFAULT_CONFIG = Path("/etc/hamgr/hamgrd.yaml")
ENV_CONFIG = "HAMGR_CONFIG"
ENV_ENDPOINTS = "HAMGR_ETCD_ENDPOINTS"
ENV_CLUSTER = "HAMGR_CLUSTER"


@dataclass(frozen=True, slots=True)
class Target:
    """Which cluster a command is about."""

    config: Path | None = None
    endpoints: tuple[str, ...] = ()
    cluster: str = ""


def target(ctx: click.Context) -> Target:
    """The cluster that this command line is about."""
    found = ctx.find_object(Target)
    assert found is not None
    return found


def resolve(option: Path | None, environment: Mapping[str, str] | None = None) -> Target:
    """What the command line and the environment say; the file is not read yet."""
    environment = os.environ if environment is None else environment
    named = option or (Path(environment[ENV_CONFIG]) if environment.get(ENV_CONFIG) else None)
    endpoints = tuple(part.strip() for part in environment.get(ENV_ENDPOINTS, "").split(",") if part.strip())
    return Target(named, endpoints, environment.get(ENV_CLUSTER, ""))


def store_config(target: Target) -> StoreConfig:
    """The settings for etcd. Raises CommandError, StoreConfigError."""
    from hamgr.store.config import StoreConfig

    settings, base = _settings(target)
    etcd = _mapping(settings, "etcd")
    endpoints = target.endpoints or _texts(etcd, "endpoints")
    if not endpoints:
        raise CommandError(_no_endpoint(target.config, settings), Exit.CONFIG)
    plain = all(endpoint.startswith("http://") for endpoint in target.endpoints) and bool(target.endpoints)
    secured: Mapping[str, Any] = {} if plain else etcd
    return StoreConfig(
        endpoints,
        target.cluster or _text(settings, "cluster") or "default",
        ca=_path(secured, "ca", base),
        cert=_path(secured, "cert", base),
        key=_path(secured, "key", base),
        user=_text(secured, "user"),
        password=_password(secured, base),
    )


def fence_programs(target: Target) -> Programs:
    """Which fence agents this machine runs, by hamgrd's settings. Raises CommandError."""
    from hamgr.fencer.programs import Programs

    settings, base = _settings(target)
    section, default = _mapping(settings, "fence-agents"), Programs()
    return Programs(
        tuple(map(Path, _texts(section, "directories"))) or default.directories,
        tuple(map(Path, _texts(section, "programs"))),
        _path(section, "parameter-files", base) or default.parameter_files,
    )


def _no_endpoint(named: Path | None, settings: Mapping[str, Any]) -> str:
    """What to do about it: correct the file that was read, or name one."""
    if named is not None or settings:
        return (
            f"{named or DEFAULT_CONFIG} names no etcd endpoint: it belongs there as `etcd: {{endpoints: "
            "[https://HOST:2379]}` (`hamgrd --check --config FILE` names every mistake)"
        )
    return (
        f"no etcd endpoint is known: set {ENV_ENDPOINTS}=https://HOST:2379, or name hamgrd's settings file with "
        f'--config or {ENV_CONFIG} (default {DEFAULT_CONFIG}); for a sandbox: eval "$(hamgr sandbox env)"'
    )


def open_store(target: Target) -> Store:
    """A connection to etcd; nothing is sent yet. Raises CommandError, StoreConfigError."""
    from hamgr.store.store import Store

    return Store(store_config(target))


def _settings(target: Target) -> tuple[Mapping[str, Any], Path]:
    path = target.config or DEFAULT_CONFIG
    if target.config is None and (target.endpoints or not path.exists()):
        return {}, Path()
    from hamgr.clusterfile.source import ConfigError, read_yaml

    try:
        source = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        text = f"the settings file {path} cannot be read: {error.strerror}; {_other_file(error)}"
        raise CommandError(text, Exit.NO_INPUT) from None
    except UnicodeDecodeError:
        raise CommandError(f"the settings file {path} is not UTF-8 text", Exit.CONFIG) from None
    except ConfigError as error:
        raise CommandError(str(error), Exit.CONFIG) from None
    if not isinstance(source.value, dict):
        raise CommandError(f"{path}: a mapping with the key etcd belongs here", Exit.CONFIG)
    return source.value, path.parent


def _other_file(error: OSError) -> str:
    """What to do about a settings file that cannot be read."""
    if isinstance(error, PermissionError):
        return "ask as a user who may read it (sudo)"
    return f"name hamgrd's settings file with --config or {ENV_CONFIG}"


def _mapping(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = settings.get(key)
    return value if isinstance(value, dict) else {}


def _text(settings: Mapping[str, Any], key: str) -> str | None:
    value = settings.get(key)
    return str(value) if isinstance(value, str) else None


def _texts(settings: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = settings.get(key)
    entries = value if isinstance(value, list) else [value]
    return tuple(str(entry) for entry in entries if isinstance(entry, str))


def _path(etcd: Mapping[str, Any], key: str, base: Path) -> Path | None:
    text = _text(etcd, key)
    return base / text if text else None


def _password(etcd: Mapping[str, Any], base: Path) -> str | None:
    path = _path(etcd, "password-file", base)
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandError(f"etcd's password file {path} cannot be read: {error.strerror}", Exit.CONFIG) from None
