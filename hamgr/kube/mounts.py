"""Which mounts of this host belong to a volume: what hamgrd on a node looks at to prove that it let go of a disk.

The kubelet stages a CSI disk once (``plugins/kubernetes.io/csi/DRIVER/HASH/globalmount``) and binds it into each pod
(``pods/UID/volumes/kubernetes.io~csi/PV/mount``, and for a subPath below ``pods/UID/volume-subpaths``); a raw block
volume is staged, published and bound below ``volumeDevices`` (csi_block.go). When none of these is left in
/proc/self/mountinfo, no process of the host can reach the file system through them any more.
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
    pv = volume.pv
    staged = (f"/plugins/kubernetes.io/csi/{volume.driver}/{volume.global_mount_id}/", f"/kubernetes.io/csi/pv/{pv}/")
    bound = (f"/volumes/kubernetes.io~csi/{pv}/", f"/volume-subpaths/{pv}/")
    devices = [f"/volumeDevices/{place}{pv}/" for place in ("", "publish/", "staging/", "kubernetes.io~csi/")]
    marks = (*staged, *bound, *devices)
    return [point for point in mount_points(mountinfo) if any(mark in point + "/" for mark in marks)]


def mounts_of_pod(uid: str, mountinfo: str) -> list[str]:
    """The mount points that the kubelet has made for a pod, of whatever kind: it removes the last one after the pod's
    last container has ended, and before it forgets the pod."""
    return [point for point in mount_points(mountinfo) if f"/pods/{uid}/" in point + "/"]
