"""What a disk that can be pulled needs from Linux: loop devices and mounts by system call, and the cut itself.

The cut has two halves, because either alone leaves a hole. EXT4_IOC_SHUTDOWN fails every later read and write on the
file system, but metadata that its journal has committed may still sit in the device's cache and be written back
minutes later, over the next holder's data. So the loop device is then shrunk to one sector: the kernel flushes that
cache, waits for requests in flight, and from then on refuses everything beyond the boot sector, whoever asks. Before
the cut the file system is frozen, so that whoever was told that his data are synced was told the truth.
"""

import ctypes
import errno
import fcntl
import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOOP_CONFIGURE = 0x4C0A
_LOOP_CLR_FD = 0x4C01
_LOOP_SET_STATUS64 = 0x4C04
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_INFO64_SIZE = 232
_SIZELIMIT_OFFSET = 32
_SECTOR = 512
_EXT4_IOC_SHUTDOWN = 0x8004587D
_SHUTDOWN_NOLOGFLUSH = 2
_FIFREEZE = 0xC0045877
_FITHAW = 0xC0045878
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 1, 6
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_MNT_DETACH = 2
_ATTEMPTS = 50

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def format_image(image: Path, size_bytes: int) -> None:
    """Make a sparse ext4 image of `size_bytes`; it appears under its name only when it is complete."""
    unfinished = image.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("wb") as file:
        file.truncate(size_bytes)
    options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    command = ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", options, str(unfinished)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(errno.EIO, f"mkfs.ext4 failed on {unfinished}: {done.stderr.strip()}")
    unfinished.rename(image)


def plug(image: Path) -> str:
    """Put the image on a free loop device and return its path, such as `/dev/loop3`."""
    name = str(image).encode()[-63:]
    info = bytes(56) + name + bytes(_LOOP_INFO64_SIZE - 56 - len(name))
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            device = f"/dev/loop{_free_number()}"
            try:
                with _opened(device, os.O_RDWR) as loop:
                    fcntl.ioctl(loop, _LOOP_CONFIGURE, struct.pack("II", backing, 0) + info + bytes(64))
            except OSError as error:
                if error.errno != errno.EBUSY:  # another process was faster
                    raise
            else:
                return device
    finally:
        os.close(backing)
    raise OSError(errno.EBUSY, f"no free loop device for {image} after {_ATTEMPTS} attempts")


def _free_number() -> int:
    with _opened("/dev/loop-control", os.O_RDWR) as control:
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    path = Path(f"/dev/loop{number}")
    if not path.exists():  # where nothing like devtmpfs makes the node
        with suppress(FileExistsError):
            os.mknod(path, 0o660 | stat.S_IFBLK, os.makedev(7, number))
    return number


def carries(device: str, image: Path) -> bool:
    """True when `device` is a loop device on this image that has not been cut off."""
    base = Path("/sys/block") / Path(device).name / "loop"
    try:
        backing = (base / "backing_file").read_text().strip()
        return backing == str(image.resolve()) and (base / "sizelimit").read_text().strip() == "0"
    except OSError:
        return False


def devices_below(root: Path) -> list[str]:
    """Every loop device whose image lies below `root`, cut off or not."""
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if Path(entry.read_text().strip().removesuffix(" (deleted)")).is_relative_to(root.resolve()):
                found.append(f"/dev/{entry.parent.parent.name}")
    return found


def cut_off(device: str, *, lose_unsynced: bool = False) -> None:
    """Return only when nothing can be written through `device` any more, whoever has its files open. Idempotent.

    lose_unsynced: what was not synced is gone, as in a crash. Then nobody may be writing any more: a sync that is under
    way while ext4 shuts down may say that all is well, and nothing of it is on the disk (Linux 6.18: 17 of 200).
    """
    if is_mounted(device):
        with superblock(device) as directory:
            if not lose_unsynced:
                with suppress(OSError):  # it is frozen already (EBUSY), or shut down (EIO)
                    fcntl.ioctl(directory, _FIFREEZE, 0)
            with suppress(OSError):  # already shut down
                fcntl.ioctl(directory, _EXT4_IOC_SHUTDOWN, struct.pack("I", _SHUTDOWN_NOLOGFLUSH))
            _thaw(directory)  # writers that were held up now get their error
    with _opened(device, os.O_RDONLY) as loop:
        _shrink(loop)


def _shrink(loop: int) -> None:
    info = bytearray(_LOOP_INFO64_SIZE)
    for attempt in range(_ATTEMPTS):
        fcntl.ioctl(loop, _LOOP_GET_STATUS64, info)
        struct.pack_into("<Q", info, _SIZELIMIT_OFFSET, _SECTOR)
        try:
            fcntl.ioctl(loop, _LOOP_SET_STATUS64, bytes(info))
            return
        except OSError as error:
            # Some kernels refuse while a page was dirtied between their flush and their check.
            if error.errno != errno.EAGAIN or attempt == _ATTEMPTS - 1:
                raise


def unplug(device: str) -> None:
    """Give the loop device back; while a mount still holds it the kernel does so after the last one. Idempotent."""
    try:
        with _opened(device, os.O_RDONLY) as loop:
            fcntl.ioctl(loop, _LOOP_CLR_FD)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOENT):
            raise


def is_mounted(device: str) -> bool:
    """True while any mount namespace has this device mounted."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False


def stall(device: str) -> None:
    """Make every write to the mounted file system wait, as a hung disk does, until `unstall`. Idempotent."""
    with superblock(device) as directory:
        try:
            fcntl.ioctl(directory, _FIFREEZE, 0)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise


def unstall(device: str) -> None:
    """Undo `stall`. Idempotent."""
    if is_mounted(device):
        with superblock(device) as directory:
            _thaw(directory)


def _thaw(directory: int) -> None:
    with suppress(OSError):  # EINVAL: was not frozen
        fcntl.ioctl(directory, _FITHAW, 0)


@contextmanager
def superblock(device: str) -> Iterator[int]:
    """A directory descriptor on the device's file system, wherever it is mounted.

    A second mount of one device shares the first one's superblock. This one is attached to no namespace, so that it
    reaches a file system mounted only inside a node and cannot be left behind when its process dies.
    """
    context = _checked(_libc.syscall(_FSOPEN, b"ext4", _FSOPEN_CLOEXEC), "fsopen ext4")
    try:
        source = _libc.syscall(_FSCONFIG, context, _FSCONFIG_SET_STRING, b"source", device.encode(), 0)
        _checked(source, f"fsconfig source {device}")
        _checked(_libc.syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), f"open ext4 on {device}")
        mount_fd = _checked(_libc.syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0), f"fsmount {device}")
    finally:
        os.close(context)
    try:
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
        try:
            yield directory
        finally:
            os.close(directory)
    finally:
        os.close(mount_fd)


def mount(device: str, path: Path) -> None:
    """Mount the device's ext4 at `path` in the caller's mount namespace (replays the journal when it has to)."""
    # Without noinit_itable a kernel thread would go on writing to a fresh disk for minutes.
    result = _libc.mount(device.encode(), str(path).encode(), b"ext4", 0, b"noinit_itable")
    _checked(result, f"mount {device} on {path}")


def unmount(path: Path) -> None:
    """Unmount all that is stacked at `path`; raises OSError EBUSY while a process has files open on a live disk."""
    while mounted_device(path) is not None:
        _checked(_libc.umount2(str(path).encode(), 0), f"umount {path}")


def unmount_lazily(path: Path) -> None:
    """Take `path` out of the caller's tree at once; for a mount whose disk is gone."""
    while mounted_device(path) is not None:
        _checked(_libc.umount2(str(path).encode(), _MNT_DETACH), f"umount {path}")


def mounted_device(path: Path) -> str | None:
    """What is mounted exactly at `path` in the caller's mount namespace (the topmost mount's source), or None."""
    wanted = _escaped(path)
    found = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[4] == wanted:
            found = fields[fields.index("-") + 2]
    return found


def _escaped(path: Path) -> str:
    """The path as mountinfo spells it."""
    text = str(path.resolve()).replace("\\", "\\134")
    return text.replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
