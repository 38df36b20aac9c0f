"""Put the calling process into a container: own mounts, processes, host name and network, few capabilities.

The system calls that Python lacks come through ctypes, so that starting a container costs one fork and no interpreter.
Everything here runs in a freshly forked child of ``runtime`` and ends in ``execve``; it imports little for that reason.

The container's root is an overlay on the machine's own root: programs are there, writes stay in a layer that vanishes
with the container. After ``pivot_root`` nothing else is mounted in it but its volumes. That matters for safety: a mount
namespace that kept a copy of some other pod's disk would keep that disk's file system alive after its unmount.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 0x1, 0x20, 0x1000, 0x4000, 0x80000
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP = 1, 24
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
# The capabilities that container runtimes leave to a container by default: chown, dac_override, fowner, fsetid, kill,
# setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap.
_KEPT_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})
_LAST_CAPABILITY = 40

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the machine that the container sees at ``target``."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """What to run and as whom. ``uid`` None keeps the caller's identity; ``netns`` names one under /run/netns."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = "/"
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    netns: str | None = None
    hostname: str = ""
    mounts: tuple[Mount, ...] = field(default=())

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Process:
        return cls(
            **{
                **data,
                "argv": tuple(data["argv"]),
                "groups": tuple(data["groups"]),
                "mounts": tuple(Mount(**mount) for mount in data["mounts"]),
            }
        )


def relocated(text: str, places: Mapping[str, str]) -> str:
    """``text`` with the paths of a container replaced by the places on this machine (path in it -> place)."""
    for target in sorted(places, key=len, reverse=True):
        pattern = rf"(?<![\w./-]){re.escape(target.rstrip('/'))}(?![\w.-])"
        text = re.sub(pattern, places[target].replace("\\", r"\\"), text)
    return text


class SetupFailed(OSError):
    """A step on the way into the container failed; the message names the step and what it was done to."""


def _checked(result: int, step: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise SetupFailed(number, f"{step}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises SetupFailed."""
    encoded = [os.fsencode(text) for text in (source, target, kind)]
    _checked(_libc.mount(*encoded, ctypes.c_ulong(flags), os.fsencode(data)), f"mount {source or kind} on {target}")


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2). Raises SetupFailed."""
    _checked(_libc.umount2(os.fsencode(target), flags), f"unmount {target}")


def unshare(flags: int) -> None:
    """unshare(2). Raises SetupFailed."""
    _checked(_libc.unshare(flags), f"unshare {flags:#x}")


def join_namespace(path: str) -> None:
    """Enter the namespace that ``path`` stands for (setns(2)). Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(descriptor, 0), f"enter namespace {path}")
    finally:
        os.close(descriptor)


def enter_container(process: Process, scratch: Path) -> None:
    """Build the container around the calling process, which is the first of a new process namespace already.

    ``scratch`` is an empty directory to build on; what is mounted there is seen by this process alone.
    """
    if process.netns:
        join_namespace(f"/run/netns/{process.netns}")
    unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC)
    # A slave still hears of unmounts in the node's namespace in the moments before pivot_root drops all of its mounts.
    mount("", "/", "", MS_REC | MS_SLAVE)
    root = _overlay(scratch)
    mount("/dev", f"{root}/dev", "", MS_BIND | MS_REC)
    mount("/sys", f"{root}/sys", "", MS_BIND | MS_REC)
    mount("proc", f"{root}/proc", "proc", 0)
    mount("tmpfs", f"{root}/run", "tmpfs", 0, "mode=755")
    for each in process.mounts:
        bind(each, root)
    _pivot(root)
    if process.hostname:
        socket.sethostname(process.hostname)


def _overlay(scratch: Path) -> str:
    mount("tmpfs", str(scratch), "tmpfs", 0, "mode=755")
    upper, work, root = (scratch / name for name in ("upper", "work", "root"))
    for directory in (upper, work, root):
        directory.mkdir()
    mount("overlay", str(root), "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    return str(root)


def bind(what: Mount, root: str = "") -> None:
    """Show ``what.source`` at ``what.target`` below ``root``; missing parts of the target are made. Raises OSError."""
    target = Path(f"{root}/{what.target.lstrip('/')}") if root else Path(what.target)
    if os.path.isdir(what.source):
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(what.source, str(target), "", MS_BIND)
    if what.read_only:
        mount("", str(target), "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def _pivot(root: str) -> None:
    """Make ``root`` the root and let go of everything that was mounted before (pivot_root(2), its "." "." form)."""
    os.chdir(root)
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _checked(_libc.syscall(number, b".", b"."), f"pivot_root to {root}")
    unmount(".", MNT_DETACH)
    os.chdir("/")


def join_container(pid: int) -> None:
    """Enter the namespaces of the container whose first process is ``pid``; children of the caller are then inside."""
    descriptors = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in ("pid", "net", "ipc", "uts", "mnt")]
    for descriptor in descriptors:
        _checked(_libc.setns(descriptor, 0), f"enter the container of process {pid}")
        os.close(descriptor)


def become(process: Process, *, confined: bool) -> None:
    """Take on the process's identity, drop capabilities when ``confined``, and execute it. Returns only by raising."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if confined:
        for capability in range(_LAST_CAPABILITY + 1):
            if capability not in _KEPT_CAPABILITIES:
                _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if process.uid is not None:
        os.setgroups(process.groups)
        os.setgid(process.gid if process.gid is not None else 0)
        os.setuid(process.uid)
    # Should the runtime die, its containers die with it: nothing may go on writing that nobody watches.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.chdir(process.cwd)
    os.execvpe(process.argv[0], process.argv, process.env)
