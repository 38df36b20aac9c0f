"""The sandbox's storage system: disks that one node holds at a time and that can be pulled while they are in use.

`DiskStore` keeps everything in files below one directory, so that the attacher, the node agents and the fault commands
are separate processes over the same storage. What fencing by volume rests on is here: `detach` returns only when the
old holder's processes cannot write any more, and nobody else can attach before.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from hamgr_sandbox import blockdev, diskdirs

DRIVER = "disk.sandbox.hamgr.io"
"""Name of the CSI driver that the attacher and the node agents answer for."""


class DiskError(Exception):
    """The storage refused; the text is a sentence for people."""


class DiskInUse(DiskError):
    """Attached to another node already. `holder` is that node."""

    def __init__(self, handle: str, holder: str) -> None:
        super().__init__(f"disk {handle!r} is attached to node {holder!r}; detach it there first")
        self.handle = handle
        self.holder = holder


class NotAttached(DiskError):
    """The node asked for a disk that is not attached to it."""

    def __init__(self, handle: str, node: str, holder: str | None) -> None:
        where = f"it is attached to {holder!r}" if holder else "it is attached to no node"
        super().__init__(f"disk {handle!r} is not attached to node {node!r}: {where}")


class NoSuchDisk(DiskError):
    """Nobody has created a disk of this handle."""

    def __init__(self, handle: str) -> None:
        super().__init__(f"there is no disk {handle!r}; create it first")


class Backend(Protocol):
    """How a disk is made of this machine's means. `home` is the disk's own directory, `device` what `plug` returned."""

    def create(self, home: Path, size_bytes: int) -> None: ...
    def plug(self, home: Path) -> str: ...
    def is_plugged(self, home: Path, device: str) -> bool: ...
    def unplug(self, home: Path, device: str, *, lose_unsynced: bool = False) -> None: ...
    def stage(self, home: Path, device: str, path: Path, mounts: Path) -> None: ...
    def unstage(self, path: Path, mounts: Path) -> None: ...
    def pin(self, device: str) -> ExitStack: ...
    def stall(self, device: str) -> None: ...
    def unstall(self, device: str) -> None: ...


class LoopBackend:
    """Root: an ext4 image on a loop device. A pulled disk answers EIO, as a real one does.

    What it cannot show is a power cut below the file system: the image lies in this machine's page cache, so what was
    written but not flushed by the *device* survives. What the file system had not yet written is lost, as it should be.
    """

    def create(self, home: Path, size_bytes: int) -> None:
        image = home / "image"
        if not image.exists():
            blockdev.format_image(image, size_bytes)

    def plug(self, home: Path) -> str:
        return blockdev.plug(home / "image")

    def is_plugged(self, home: Path, device: str) -> bool:
        return blockdev.carries(device, home / "image")

    def unplug(self, home: Path, device: str, *, lose_unsynced: bool = False) -> None:
        if blockdev.carries(device, home / "image"):  # after a reboot the number may be somebody else's
            blockdev.cut_off(device, lose_unsynced=lose_unsynced)
            blockdev.unplug(device)

    def stage(self, home: Path, device: str, path: Path, mounts: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        if blockdev.mounted_device(path) == device:
            return
        blockdev.unmount_lazily(path)  # what is left of an attachment that was cut off
        blockdev.mount(device, path)

    def unstage(self, path: Path, mounts: Path) -> None:
        if path.is_dir():
            blockdev.unmount(path)

    def pin(self, device: str) -> ExitStack:
        held = ExitStack()
        if blockdev.is_mounted(device):
            held.enter_context(blockdev.superblock(device))
        return held

    def stall(self, device: str) -> None:
        blockdev.stall(device)

    def unstall(self, device: str) -> None:
        blockdev.unstall(device)


class DirectoryBackend:
    """Without root: a directory, staged as a symbolic link.

    A process that still has files of a pulled disk open does not get EIO: it is killed, because an ordinary user has
    no other way to stop its writes. Processes of other users are not seen at all. Nothing is lost in a crash, since
    what was written stays in this machine's page cache, and a disk cannot be stalled.
    """

    def create(self, home: Path, size_bytes: int) -> None:
        diskdirs.create(home)

    def plug(self, home: Path) -> str:
        return diskdirs.plug(home)

    def is_plugged(self, home: Path, device: str) -> bool:
        return Path(device).is_dir()

    def unplug(self, home: Path, device: str, *, lose_unsynced: bool = False) -> None:
        diskdirs.unplug(home, Path(device))

    def stage(self, home: Path, device: str, path: Path, mounts: Path) -> None:
        diskdirs.stage(Path(device), path, mounts)

    def unstage(self, path: Path, mounts: Path) -> None:
        diskdirs.unstage(path, mounts)

    def pin(self, device: str) -> ExitStack:
        return ExitStack()

    def stall(self, device: str) -> None:
        raise DiskError("a disk can be stalled only as root: without root it is a plain directory")

    def unstall(self, device: str) -> None:
        pass


@dataclass
class _Disk:
    handle: str
    size_bytes: int
    holder: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class DiskInfo:
    """What `DiskStore.disks` says about one disk."""

    handle: str
    size_bytes: int
    holder: str | None
    device: str | None


class DiskStore:
    """All disks of one sandbox. Every method may be called from any process; one disk's operations never interleave.

    The kind of disk (image or directory) is chosen when the store is first used, by whether that process is root, and
    then stays: `backend` is for tests of either kind.
    """

    def __init__(self, root: Path, backend: Backend | None = None) -> None:
        self.root = root.absolute()
        self.root.mkdir(parents=True, exist_ok=True)
        self._backend = backend or self._chosen_backend()

    def _chosen_backend(self) -> Backend:
        marker = self.root / "kind"
        with suppress(FileExistsError), marker.open("x") as file:
            file.write("image" if os.geteuid() == 0 and Path("/dev/loop-control").exists() else "directory")
        kind = marker.read_text() or "image"  # empty: its maker is root and just about to write it
        if kind == "image" and os.geteuid() != 0:
            raise DiskError(f"the disks in {self.root} were made by root; run as root or choose another directory")
        return LoopBackend() if kind == "image" else DirectoryBackend()

    def create(self, handle: str, size_bytes: int) -> None:
        """Make an empty disk. Idempotent; the size of an existing disk stays."""
        with self._locked(handle):
            if self._read(handle) is None:
                self._backend.create(self._home(handle), size_bytes)
                self._write(_Disk(handle, size_bytes))

    def delete(self, handle: str) -> None:
        """Destroy a disk and its data. Raises DiskInUse while a node holds it; idempotent."""
        with self._locked(handle):
            disk = self._read(handle)
            if disk is not None:
                if disk.holder:
                    raise DiskInUse(handle, disk.holder)
                _remove_tree(self._home(handle), keep="lock")

    def attach(self, handle: str, node: str) -> None:
        """Give the disk to `node`. Idempotent. Raises DiskInUse while another node holds it, NoSuchDisk."""
        with self._locked(handle):
            disk = self._existing(handle)
            if disk.holder not in (None, node):
                raise DiskInUse(handle, str(disk.holder))
            if disk.holder == node and disk.device and self._backend.is_plugged(self._home(handle), disk.device):
                return
            disk.holder = node
            self._write(disk)  # the claim comes first: a crash in between leaves a holder, never two
            disk.device = self._backend.plug(self._home(handle))
            self._write(disk)

    def detach(self, handle: str, node: str) -> None:
        """Take the disk from `node`; returns only when no process can write to it any more. Idempotent.

        Whoever still has files of it open gets EIO from then on. Does nothing when another node or none holds the
        disk.
        """
        with self._locked(handle):
            disk = self._read(handle)
            if disk is None or disk.holder != node:
                return
            if disk.device:
                self._backend.unplug(self._home(handle), disk.device)
            disk.holder = disk.device = None
            self._write(disk)

    def holder(self, handle: str) -> str | None:
        """The node that the disk is attached to, or None (also for a disk that does not exist)."""
        disk = self._read(handle)
        return disk.holder if disk else None

    def disks(self) -> list[DiskInfo]:
        """Every disk of the store, by handle."""
        found = [_Disk(**json.loads(path.read_text())) for path in self.root.glob("*/disk.json")]
        return [DiskInfo(**asdict(disk)) for disk in sorted(found, key=lambda disk: disk.handle)]

    def stage(self, handle: str, node: str, path: Path) -> None:
        """The node's side: mount the disk at `path` (made when missing). Idempotent. Raises NotAttached, NoSuchDisk.

        A mount of an earlier attachment that still stands there, dead, is replaced.
        """
        with self._locked(handle):
            disk = self._existing(handle)
            if disk.holder != node or not disk.device:
                raise NotAttached(handle, node, disk.holder)
            if not self._backend.is_plugged(self._home(handle), disk.device):  # this machine was restarted
                disk.device = self._backend.plug(self._home(handle))
                self._write(disk)
            self._backend.stage(self._home(handle), disk.device, path, self.mounts_file(node))

    def unstage(self, handle: str, node: str, path: Path) -> None:
        """Unmount `path` in the caller's mount namespace. Idempotent. Raises OSError EBUSY while files are open."""
        with self._locked(handle):
            self._backend.unstage(path, self.mounts_file(node))

    def mounts_file(self, node: str) -> Path:
        """Without root: a file that says in the form of /proc/self/mountinfo which disks are staged on the node."""
        return self.root / f"mounts-{node}"

    @contextmanager
    def pinned(self, node: str) -> Iterator[None]:
        """Keep the file systems of the node's disks from being unmounted, and so flushed, by the death of the node.

        A crash is: `with store.pinned(node):` kill everything on it, `release_stalled(node)`, see that all has ended,
        then `lose_unsynced(node)`.
        """
        with ExitStack() as held:
            for disk in self._held_by(node):
                if disk.device and self._backend.is_plugged(self._home(disk.handle), disk.device):
                    held.enter_context(self._backend.pin(disk.device))
            yield

    def release_stalled(self, node: str) -> None:
        """Let the node's processes that wait for a stalled disk go on; a process that waits so cannot die."""
        for listed in self._held_by(node):
            self.unstall(listed.handle)

    def lose_unsynced(self, node: str) -> None:
        """A host crash as its disks see it: what was not synced is gone; the disks stay attached to the node.

        Nothing on the node may be writing any more.
        """
        for listed in self._held_by(node):
            with self._locked(listed.handle):
                disk = self._existing(listed.handle)
                if disk.holder == node and disk.device:
                    self._backend.unplug(self._home(disk.handle), disk.device, lose_unsynced=True)
                    disk.device = self._backend.plug(self._home(disk.handle))
                    self._write(disk)

    def stall(self, handle: str) -> None:
        """Let every write to the disk wait until `unstall`, as a hung disk does. Raises DiskError when not in use."""
        with self._locked(handle):
            self._backend.stall(self._device_in_use(handle))

    def unstall(self, handle: str) -> None:
        """Undo `stall`. Idempotent."""
        with self._locked(handle):
            disk = self._existing(handle)
            if disk.device:
                self._backend.unstall(disk.device)

    def close(self) -> None:
        """Cut off and give back every device of the store; the data stay. For the end of a sandbox."""
        for disk in self.disks():
            with self._locked(disk.handle):
                if disk.device:
                    self._backend.unplug(self._home(disk.handle), disk.device)
                self._write(_Disk(disk.handle, disk.size_bytes))
        for device in blockdev.devices_below(self.root):  # of a process that was killed half-way
            blockdev.cut_off(device)
            blockdev.unplug(device)

    def _held_by(self, node: str) -> list[DiskInfo]:
        return [disk for disk in self.disks() if disk.holder == node]

    def _device_in_use(self, handle: str) -> str:
        disk = self._existing(handle)
        if not disk.device:
            raise DiskError(f"disk {handle!r} is attached to no node")
        return disk.device

    def _home(self, handle: str) -> Path:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", handle):
            return self.root / handle
        return self.root / f"sha256-{hashlib.sha256(handle.encode()).hexdigest()}"

    def _existing(self, handle: str) -> _Disk:
        disk = self._read(handle)
        if disk is None:
            raise NoSuchDisk(handle)
        return disk

    def _read(self, handle: str) -> _Disk | None:
        try:
            return _Disk(**json.loads((self._home(handle) / "disk.json").read_text()))
        except FileNotFoundError:
            return None

    def _write(self, disk: _Disk) -> None:
        path = self._home(disk.handle) / "disk.json"
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(disk)))
        unfinished.rename(path)

    @contextmanager
    def _locked(self, handle: str) -> Iterator[None]:
        home = self._home(handle)
        home.mkdir(parents=True, exist_ok=True)
        with (home / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _remove_tree(path: Path, keep: str) -> None:
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _remove_tree(entry, keep="")
            entry.rmdir()
        elif entry.name != keep:
            entry.unlink()
