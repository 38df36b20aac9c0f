"""Addresses for pods: namespaces of their own behind the node's bridge, or loopback addresses of this machine."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hamgr_sandbox.network import PodNetwork as Bridge


@dataclass(frozen=True, slots=True)
class PodAddress:
    """Where a pod lives: ``netns`` is a name under /run/netns, None when it shares the node's network."""

    ip: str
    netns: str | None = None

    @property
    def listen_address(self) -> str:
        """What a server in the pod binds to: with a network of its own everything, otherwise its address alone."""
        return "0.0.0.0" if self.netns else self.ip


class PodNetwork(Protocol):
    """Hands out networks by pod UID. Both methods block and may be repeated; they raise OSError or NetworkError."""

    def add(self, pod_uid: str) -> PodAddress: ...
    def remove(self, pod_uid: str) -> None: ...


class BridgedNetwork:
    """A network namespace a pod; needs root."""

    def __init__(self, cidr: str) -> None:
        self._bridge = Bridge(cidr)
        self._bridge.up()

    def add(self, pod_uid: str) -> PodAddress:
        return PodAddress(self._bridge.add(_namespace(pod_uid)), _namespace(pod_uid))

    def remove(self, pod_uid: str) -> None:
        self._bridge.remove(_namespace(pod_uid))


def _namespace(pod_uid: str) -> str:
    return f"pod-{pod_uid}"


class LoopbackNetwork:
    """Addresses of 127.0.0.0/8 for those without root. Pods share the machine's network: they can all reach all."""

    def __init__(self, cidr: str, root: Path) -> None:
        self._hosts = [str(host) for host in ipaddress.ip_network(cidr).hosts()]
        self._file = root / "pod-addresses.json"

    def add(self, pod_uid: str) -> PodAddress:
        taken = self._taken()
        if pod_uid not in taken:
            free = next((host for host in self._hosts if host not in taken.values()), None)
            if free is None:
                raise OSError(f"all {len(self._hosts)} pod addresses of this node are in use")
            taken[pod_uid] = free
            self._save(taken)
        return PodAddress(taken[pod_uid])

    def remove(self, pod_uid: str) -> None:
        taken = self._taken()
        if taken.pop(pod_uid, None):
            self._save(taken)

    def _taken(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._file.read_text()))
        except FileNotFoundError:
            return {}

    def _save(self, taken: dict[str, str]) -> None:
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps(taken))
        unfinished.rename(self._file)


def pod_network(cidr: str, root: Path) -> PodNetwork:
    """The network for this range: loopback addresses when it lies in 127.0.0.0/8."""
    return LoopbackNetwork(cidr, root) if ipaddress.ip_network(cidr).is_loopback else BridgedNetwork(cidr)
