"""Mount the volumes of pods: bind mounts for root, symbolic links for others, and files made from API objects."""

from __future__ import annotations

import json
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from hamgr_sandbox.node import isolation
from hamgr_sandbox.node.environment import MissingReference, Sources, field_value, resource_value

Json = dict[str, Any]
_DATA_MODE = 0o644


def is_mounted(path: Path) -> bool:
    """Whether something is mounted at ``path``, or (without root) it is a link to what stands for a mount."""
    if path.is_symlink():
        return True
    wanted = str(path)
    with open("/proc/self/mountinfo") as table:
        return any(_unescaped(line.split(" ")[4]) == wanted for line in table)


def _unescaped(field: str) -> str:
    return field.encode().decode("unicode_escape") if "\\" in field else field


def bind(source: Path, target: Path) -> None:
    """Show ``source`` at ``target``. Idempotent. Raises OSError."""
    if is_mounted(target):
        return
    if os.geteuid() == 0:
        isolation.bind(isolation.Mount(str(source), str(target)))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        target.rmdir()
    target.symlink_to(source)


def unbind(target: Path) -> None:
    """Undo ``bind`` and remove the mount point. Idempotent. Raises OSError (EBUSY while files are open)."""
    if target.is_symlink():
        target.unlink()
        return
    while is_mounted(target):
        isolation.unmount(str(target))
    with suppress(FileNotFoundError):
        target.rmdir()


def give_to_group(path: Path, gid: int, policy: str) -> None:
    """Make a volume writable for the pod's fsGroup, as the kubelet does: group, rw for it, setgid on directories.

    With the policy OnRootMismatch nothing is done when the volume's root has it already.
    """
    top = path.stat()
    if policy == "OnRootMismatch" and top.st_gid == gid and top.st_mode & stat.S_ISGID:
        return
    for parent, _, files in os.walk(path):
        _give(Path(parent), gid, 0o2770)
        for name in files:
            _give(Path(parent) / name, gid, 0o660)


def _give(path: Path, gid: int, extra: int) -> None:
    if path.is_symlink():
        return
    with suppress(PermissionError):
        os.chown(path, -1, gid)
    path.chmod(stat.S_IMODE(path.stat().st_mode) | extra)


def host_path(volume: Json) -> Path:
    """The path of a hostPath volume, made when its type asks for it. Raises OSError when it is something else."""
    path, kind = Path(volume["path"]), volume.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch()
    checks = {"Directory": path.is_dir, "File": path.is_file, "Socket": path.is_socket, "": path.exists}
    if not checks.get(kind, path.exists)():
        raise OSError(f"hostPath type check failed: {path} is not a {kind.lower() or 'file or directory'}")
    return path


def write_files(directory: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """Fill a directory with name -> (content, mode); names may have slashes."""
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    for name, (content, mode) in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)


def files_of(volume: Json, pod: Json, node: Json, sources: Sources) -> dict[str, tuple[bytes, int]]:
    """The files of a secret, configMap, downwardAPI or projected volume. Raises MissingReference."""
    if "projected" in volume:
        mode = volume["projected"].get("defaultMode", _DATA_MODE)
        parts = volume["projected"].get("sources") or []
        if any("serviceAccountToken" in part for part in parts):
            # The access to the API server that each pod gets unasked. Pods of the sandbox have none, and the cluster's
            # certificate may not have been published.
            parts = [part for part in parts if "downwardAPI" in part]
    else:
        mode, parts = _default_mode(volume), [volume]
    files: dict[str, tuple[bytes, int]] = {}
    for part in parts:
        files |= _files_of_part(part, mode, pod, node, sources)
    return files


def _default_mode(volume: Json) -> int:
    source = volume.get("secret") or volume.get("configMap") or volume.get("downwardAPI") or {}
    return int(source.get("defaultMode", _DATA_MODE))


def _files_of_part(part: Json, mode: int, pod: Json, node: Json, sources: Sources) -> dict[str, tuple[bytes, int]]:
    if "downwardAPI" in part:
        return _downward(part["downwardAPI"], mode, pod, node)
    kind = "secret" if "secret" in part else "configMap"
    source = part[kind]
    name = source.get("secretName") or source.get("name", "")
    try:
        data = sources.secret(name) if kind == "secret" else sources.config_map(name)
    except MissingReference:
        if source.get("optional"):
            return {}
        raise
    if not source.get("items"):
        return {key: (value, mode) for key, value in data.items()}
    absent = [item["key"] for item in source["items"] if item["key"] not in data]
    if absent and not source.get("optional"):
        raise MissingReference(f"references non-existent {kind.lower()} key: {absent[0]}")
    return {
        item["path"]: (data[item["key"]], int(item.get("mode", mode)))
        for item in source["items"]
        if item["key"] in data
    }


def _downward(source: Json, mode: int, pod: Json, node: Json) -> dict[str, tuple[bytes, int]]:
    files = {}
    for item in source.get("items") or []:
        if "fieldRef" in item:
            text = field_value(item["fieldRef"]["fieldPath"], pod, node)
        else:
            reference = item["resourceFieldRef"]
            owner: Json = next(
                (c for c in pod["spec"]["containers"] if c["name"] == reference.get("containerName")), {}
            )
            text = resource_value(reference, owner)
        files[item["path"]] = (text.encode(), int(item.get("mode", mode)))
    return files


def remember(path: Path, data: Json) -> None:
    """Write down what a mount is of, so that the next agent on this node can undo it (the kubelet's vol_data.json)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
