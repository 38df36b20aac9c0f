"""Which programs a node runs as fence agents, and which files it reads parameters from: its own settings say so.

Whoever may write the cluster file must not become root on the leader by naming a program there. So a fence agent is a
name, `fence_...`, which is looked up in directories that hamgrd.yaml on the node lists, or the absolute name of a
program in one of them or listed itself.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

AGENT_NAME = re.compile(r"fence_[a-z0-9_]+\Z")


class NotAllowed(Exception):
    """What a device names is not to be run or read on this node; the message says what is."""


@dataclass(frozen=True, slots=True)
class Programs:
    """What this node allows. directories: with fence agents; named: further programs, by absolute name;
    parameter_files: the directory below which files with a device's parameters may lie.
    """

    directories: tuple[Path, ...] = (Path("/usr/sbin"),)
    named: tuple[Path, ...] = ()
    parameter_files: Path = Path("/etc/hamgr")

    def find(self, agent: str) -> str:
        """The program of an agent. Raises NotAllowed."""
        path = Path(agent)
        if AGENT_NAME.match(agent):
            candidates = [directory / agent for directory in self.directories]
        elif path.is_absolute() and (path in self.named or self._is_listed(path)):
            candidates = [path]
        else:
            raise NotAllowed(
                f"agent {agent} is not run on this node: hamgrd.yaml lists neither it (fence-agents: programs) nor, "
                "with a name that begins with fence_, its directory (fence-agents: directories)"
            )
        for candidate in candidates:
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return str(candidate)
        where = "" if path.is_absolute() else f" in {', '.join(map(str, self.directories))}"
        raise NotAllowed(f"there is no program {agent}{where}: install the package fence-agents")

    def parameter_file(self, path: str) -> Path:
        """A file with parameters, links followed. Raises NotAllowed when it lies elsewhere."""
        found = Path(path).resolve()
        if not found.is_relative_to(self.parameter_files.resolve()):
            raise NotAllowed(f"parameter file {path}: only files below {self.parameter_files} are read")
        return found

    def _is_listed(self, path: Path) -> bool:
        return path.parent in self.directories and AGENT_NAME.match(path.name) is not None
