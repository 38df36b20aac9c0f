"""Disks for those without root: directories, handed out under a new name at each attachment.

A name is never used twice, so whoever kept a path of an earlier attachment finds nothing there; whoever kept a file, a
directory or a mapping open is killed before the disk is handed on.
"""

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_KILL_TIMEOUT_S = 10.0
_POLL_S = 0.01


def create(home: Path) -> None:
    """Make the empty directory of a disk. Idempotent."""
    (home / "data").mkdir(exist_ok=True)


def plug(home: Path) -> str:
    """Give the data a name that no earlier attachment had, and return that path."""
    number = int((home / "generation").read_text()) + 1 if (home / "generation").exists() else 1
    (home / "generation").write_text(str(number))
    fresh = home / f"data-{number}"
    for current in [home / "data", *home.glob("data-*")]:
        if current.is_dir():
            current.rename(fresh)
    return str(fresh)


def unplug(home: Path, device: Path) -> None:
    """Take the name away, then kill whoever still has something of it open; returns when none is left."""
    parked = home / "data"
    if device.is_dir():
        device.rename(parked)
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while users := users_of(parked):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {users} still hold files in {parked} and do not die")
        for pid in users:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def stage(device: Path, path: Path, mounts: Path) -> None:
    """Let `path` be a symbolic link to the disk's directory, and list it in `mounts`. Idempotent."""
    _list(mounts, path, device)  # first: what is listed may be unused, what is used must be listed
    if path.is_symlink():
        if path.readlink() == device:
            return
        path.unlink()
    elif path.is_dir():
        path.rmdir()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(device)


def unstage(path: Path, mounts: Path) -> None:
    """Remove the link. Idempotent."""
    if path.is_symlink():
        path.unlink()
    _list(mounts, path, None)


def _list(mounts: Path, path: Path, device: Path | None) -> None:
    """Set or remove the line of one staged disk, in the form of proc_pid_mountinfo(5)."""
    place = str(path).replace("\\", "\\134").replace(" ", "\\040")
    with mounts.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        lines = [line for line in file.read().splitlines() if line.split(" ")[4] != place]
        if device is not None:
            lines.append(f"0 0 0:0 / {place} rw - directory {device} rw")
        file.seek(0)
        file.truncate()
        file.write("".join(f"{line}\n" for line in lines))


def users_of(directory: Path) -> list[int]:
    """Processes of this user that have a file, directory or mapping below `directory` open, zombies left out."""
    prefix = str(directory.resolve())
    return [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and int(process.name) != os.getpid() and _uses(process, prefix)
    ]


def _uses(process: Path, prefix: str) -> bool:
    links = [process / "cwd", process / "root"]
    with suppress(OSError):
        links += list((process / "fd").iterdir())
    for link in links:
        with suppress(OSError):
            if _is_below(str(link.readlink()), prefix):
                return True
    with suppress(OSError):
        for line in (process / "maps").read_text().splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and _is_below(fields[5], prefix):
                return True
    return False


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")
