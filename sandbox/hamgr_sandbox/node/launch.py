"""From a container of a pod's spec to the process that is it: command, variables, mounts and identity, as values.

Where containers cannot have mounts of their own (without root), volumes stay where the node mounted them. Then the
mount paths in the command, its arguments and its variables are replaced by the places on this machine, and
``HAMGR_MOUNT_NAME`` gives the place of the volume NAME; programs that have a path built in do not find it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamgr_sandbox.images import Image
from hamgr_sandbox.node.environment import expanded, expanded_all
from hamgr_sandbox.node.isolation import Mount, Process, relocated
from hamgr_sandbox.node.podnetwork import PodAddress

Json = dict[str, Any]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BadConfig(Exception):
    """The container cannot be made from its specification; the message is for its CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container finds around it. ``directory`` is the pod's own on this node; ``root`` says who we are."""

    volumes: Mapping[str, Path]
    address: PodAddress
    node: str
    directory: Path
    isolated: bool
    root: bool


def process_for(
    pod: Json, container: Json, image: Image, variables: Mapping[str, str], around: Surroundings
) -> Process:
    """The process of a container. ``variables`` are those of its specification. Raises BadConfig."""
    env = _environment(pod, image, variables, around)
    argv = expanded_all(_words(container, image), env)
    if not argv:
        raise BadConfig("no command specified")
    mounted = _volume_mounts(container, env, image, around)
    mounts = list(mounted)
    cwd = container.get("workingDir") or "/"
    if around.isolated:
        mounts += [Mount(source, target, True) for source, target in image.views]
        mounts.append(Mount(str(around.directory / "etc-hosts"), "/etc/hosts"))
    else:
        places = {m.target: m.source for m in mounted} | {target: source for source, target in image.views}
        argv = tuple(relocated(word, places) for word in argv)
        env = {name: relocated(value, places) for name, value in env.items()}
        cwd = relocated(cwd, places) if container.get("workingDir") else str(around.directory / "work")
    uid, gid, groups = _identity(pod, container, around)
    hostname = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return Process(argv, env, cwd, uid, gid, groups, around.address.netns, hostname[:63], tuple(mounts))


def own_volume(directory: Path, path: str) -> Path:
    """Where a container keeps the volume that its image declares at ``path``."""
    return directory / "volumes" / path.strip("/").replace("/", "-")


def hosts_file(pod: Json, ip: str) -> str:
    """The text of a pod's /etc/hosts."""
    name = pod["spec"].get("hostname") or pod["metadata"]["name"]
    lines = ["# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "::1\tlocalhost", f"{ip}\t{name}"]
    lines += ["\t".join([alias["ip"], *alias["hostnames"]]) for alias in pod["spec"].get("hostAliases") or []]
    return "\n".join(lines) + "\n"


def _words(container: Json, image: Image) -> tuple[str, ...]:
    """Command and arguments: a command replaces the image's entry point and its arguments, arguments the latter."""
    if container.get("command"):
        return (*container["command"], *(container.get("args") or ()))
    return (*image.entrypoint, *(container.get("args") or image.command))


def _environment(pod: Json, image: Image, variables: Mapping[str, str], around: Surroundings) -> dict[str, str]:
    metadata = pod["metadata"]
    env = {
        "PATH": _PATH,
        "HOSTNAME": metadata["name"],
        "HOME": "/root" if around.isolated else str(around.directory / "work"),
        "HAMGR_POD_UID": metadata["uid"],
        "HAMGR_POD_NAME": metadata["name"],
        "HAMGR_NODE": around.node,
        "HAMGR_BIND_ADDRESS": around.address.listen_address,
        **image.env,
    }
    if not around.isolated:
        env["HAMGR_RUN_DIR"] = str(around.directory / "run")
        for name, path in around.volumes.items():
            env[f"HAMGR_MOUNT_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"] = str(path)
    return env | dict(variables)


def _volume_mounts(container: Json, env: Mapping[str, str], image: Image, around: Surroundings) -> tuple[Mount, ...]:
    taken = {each["mountPath"].rstrip("/") for each in container.get("volumeMounts") or []}
    mounts = [Mount(str(own_volume(around.directory, path)), path) for path in image.volumes if path not in taken]
    for each in container.get("volumeMounts") or []:
        if each["name"] not in around.volumes:
            raise BadConfig(f'volume mount "{each["name"]}" names no volume of the pod')
        source = around.volumes[each["name"]]
        below = each.get("subPath") or expanded(each.get("subPathExpr") or "", env)
        if below:
            if ".." in Path(below).parts or Path(below).is_absolute():
                raise BadConfig(f'subPath "{below}" must be a relative path below the volume')
            source = source / below
        mounts.append(Mount(str(source), each["mountPath"], bool(each.get("readOnly"))))
    return tuple(sorted(mounts, key=lambda mount: len(Path(mount.target).parts)))


def _identity(pod: Json, container: Json, around: Surroundings) -> tuple[int | None, int | None, tuple[int, ...]]:
    of_pod, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    merged = {**of_pod, **own}
    uid = int(merged.get("runAsUser") or 0)
    if merged.get("runAsNonRoot") and uid == 0:
        raise BadConfig(f'container has runAsNonRoot and image will run as root (container: "{container["name"]}")')
    if not around.root:
        return None, None, ()
    groups = [int(group) for group in of_pod.get("supplementalGroups") or []]
    if "fsGroup" in of_pod:
        groups.append(int(of_pod["fsGroup"]))
    return uid, int(merged.get("runAsGroup") or 0), tuple(groups)
