"""Reading the cluster file that a command line names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hamgr.api.exits import Exit
from hamgr.cli.exits import CommandError
from hamgr.clusterfile.load import ClusterFile, ConfigError, load_yaml
from hamgr.executor.registry import Registry, UnknownAgent


def name_of(file: Path) -> str:
    """What a file is called in messages."""
    return "standard input" if str(file) == "-" else str(file)


def read_cluster_file(file: Path) -> tuple[ClusterFile, str]:
    """A valid cluster file and its text. Raises CommandError with a line a problem."""
    try:
        text = (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).decode("utf-8")
    except OSError as error:
        raise CommandError(f"the cluster file {file} cannot be read: {error.strerror}", Exit.NO_INPUT) from None
    except UnicodeDecodeError:
        raise CommandError(f"the cluster file in {name_of(file)} is not UTF-8 text", Exit.CONFIG) from None
    try:
        cluster_file = load_yaml(text, name_of(file), Registry().specs())
    except UnknownAgent as error:
        raise CommandError(str(error), Exit.CONFIG) from None
    except ConfigError as error:
        count = len(error.problems)
        raise CommandError(
            f"{count} problem{'' if count == 1 else 's'} in {name_of(file)}:\n{error}", Exit.CONFIG
        ) from None
    from hamgr.controller.fencing.levels import usable_devices  # 0.1 s

    troubles = usable_devices(cluster_file.fencing)[1] if cluster_file.fencing.devices else []
    if troubles:
        raise CommandError(problems_in(file, troubles), Exit.CONFIG)
    return cluster_file, text


def bundle_notes(cluster_file: ClusterFile) -> list[str]:
    """What a running cluster leaves out of the file."""
    return [
        f"bundle {name}: a running cluster leaves it out, since hamgr starts no containers on hosts; "
        "its counterpart is the agent pod (docs/migration.md)"
        for name in cluster_file.bundles
    ]


def problems_in(file: Path, told: Sequence[str]) -> str:
    """What is wrong with the file, a line each."""
    return "\n".join([f"{len(told)} problem{'' if len(told) == 1 else 's'} in {name_of(file)}:", *told])
