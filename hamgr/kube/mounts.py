"""Which mounts of this host belong to a volume: what hamgrd on a node looks at to prove that it let go of a disk.

The kubelet stages a CSI disk once (``plugins/kubernetes.io/csi/DRIVER/HASH/globalmount``) and binds it into each pod
(``pods/UID/volumes/kubernetes.io~csi/PV/mount``); raw block volumes are bound below ``volumeDevices``. When none of
these is left in /proc/self/mountinfo, no process of the host can reach the file system through them any more.
"""

from __future__ import annotations

import re
from pathlib import Path

from hamgr.kube.volumes import Volume

MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def mount_points(mountinfo: str) -> list[str]:
    """The mount points in the text of a mountinfo file (proc_pid_mountinfo(5)), octal escapes undone."""
    fields = (line.split(" ") for line in mountinfo.splitlines())
    return [_ESCAPED.sub(lambda m: chr(int(m[1], 8)), f[4]) for f in fields if len(f) > 4]


def mounts_of(volume: Volume, mountinfo: str) -> list[str]:
    """The mount points of that volume, wherever the kubelet's root directory is; none: it is not mounted here."""
    staged = f"/plugins/kubernetes.io/csi/{volume.driver}/{volume.global_mount_id}/"
    bound = f"/volumes/kubernetes.io~csi/{volume.pv}/"
    devices = (f"/volumeDevices/{volume.pv}/", f"/volumeDevices/kubernetes.io~csi/{volume.pv}")
    marks = (staged, bound, *devices)
    return [point for point in mount_points(mountinfo) if any(mark in point + "/" for mark in marks)]
