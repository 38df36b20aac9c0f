"""Which processes of this machine belong to a pod: several ways to find out, all of them from /proc alone.

None of them asks the kubelet, the container runtime or the API server: self-fencing is for the time when nothing
answers any more.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

PROC = Path("/proc")
# A way: the numbers of the processes that belong to the pods with these UIDs.
Way = Callable[[Collection[str], Path], set[int]]
_POD_MOUNT = re.compile(r"/pods/([-0-9a-f]+)/(?:volumes|volumeDevices|volume-subpaths)/")


def by_cgroup(uids: Collection[str], proc: Path = PROC) -> set[int]:
    """By the cgroup's path, which has `pod<UID>` in it; the systemd driver writes `_` for `-`.

    Source: the kubelet's pod container manager (cgroup names `kubepods/besteffort/podUID` and
    `kubepods-besteffort-podUID_WITH_UNDERSCORES.slice`).
    """
    marks = [f"pod{uid}" for uid in uids] + [f"pod{uid.replace('-', '_')}" for uid in uids]
    return {pid for pid in _numbers(proc) if any(mark in _text(proc / str(pid) / "cgroup") for mark in marks)}


def by_environment(uids: Collection[str], proc: Path = PROC) -> set[int]:
    """By HAMGR_POD_UID in the environment that the process was started with: the sandbox's containers have it."""
    marks = [f"HAMGR_POD_UID={uid}\0".encode() for uid in uids]
    return {pid for pid in _numbers(proc) if any(mark in _bytes(proc / str(pid) / "environ") for mark in marks)}


def by_mounts(uids: Collection[str], proc: Path = PROC) -> set[int]:
    """By the pod's volumes: whoever has their devices mounted in a mount namespace of its own.

    Processes that see the kubelet's own mounts (those of the host, and the CSI driver's containers) are not meant: they
    have the device below the kubelet's directory, a container has it elsewhere.
    """
    devices = {
        device for uid, device, _ in _pod_mounts(_text(proc / "self" / "mountinfo")) if uid in uids
    } - _devices_in_common(uids, proc)
    if not devices:
        return set()
    return {pid for pid in _numbers(proc) if _has_elsewhere(devices, _text(proc / str(pid) / "mountinfo"))}


WAYS: Mapping[str, Way] = {"cgroup": by_cgroup, "environment": by_environment, "mounts": by_mounts}


def processes_of(uids: Collection[str], ways: Iterable[str], proc: Path = PROC) -> set[int]:
    """The living processes of these pods, found by any of the ways; never this process, never process 1."""
    if not uids:
        return set()
    found = {pid for way in ways for pid in WAYS[way](uids, proc)} - {1, os.getpid()}
    return {pid for pid in found if _alive(pid, proc)}


def kill(pids: Iterable[int]) -> list[str]:
    """SIGKILL each; what could not be killed, as sentences."""
    told = []
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except OSError as error:
            told.append(f"process {pid} cannot be killed: {error.strerror}")
    return told


def _numbers(proc: Path) -> Iterator[int]:
    with os.scandir(proc) as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield int(entry.name)


def _alive(pid: int, proc: Path) -> bool:
    """Whether there is a process that can still do something: a zombie cannot."""
    state = _text(proc / str(pid) / "stat").rpartition(")")[2].split()
    return bool(state) and state[0] not in ("Z", "X")


def _pod_mounts(mountinfo: str) -> Iterator[tuple[str, str, str]]:
    """(pod UID, device, mount point) of each volume below a kubelet's directory (proc_pid_mountinfo(5))."""
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and (match := _POD_MOUNT.search(fields[4])):
            yield match[1], fields[2], fields[4]


def _devices_in_common(uids: Collection[str], proc: Path) -> set[str]:
    """Devices that other pods, or the machine itself, have mounted as well: no sign of ours."""
    common = set()
    for line in _text(proc / "self" / "mountinfo").splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and "/plugins/kubernetes.io/csi/" not in fields[4]:
            match = _POD_MOUNT.search(fields[4])
            if match is None or match[1] not in uids:
                common.add(fields[2])
    return common


def _has_elsewhere(devices: Collection[str], mountinfo: str) -> bool:
    points = [
        fields[4] for line in mountinfo.splitlines() if len(fields := line.split(" ")) > 4 and fields[2] in devices
    ]
    return bool(points) and not any("/plugins/kubernetes.io/csi/" in p or _POD_MOUNT.search(p) for p in points)


def _text(path: Path) -> str:
    return _bytes(path).decode(errors="surrogateescape")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is not ours to look at
        return b""
