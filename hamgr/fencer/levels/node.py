"""The level `node`: a fence device switches the node off and says so; every device of the level must.

A device that can act is told to switch the node off and asked for its state afterwards: only the second answer counts.
A device that only proves (the cloud controller's shutdown taint) is asked until it says off or the level's time is up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from hamgr.fencer.fence_agent_process import always
from hamgr.fencer.machine import Isolation
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import FenceRecord, Proof


class DeviceError(Exception):
    """The device could not do it, or could not be asked; the text is the device's own, without secrets."""


class Device(Protocol):
    """A fence device. Methods block; they raise DeviceError.

    `allowed` raises when the caller may not act any more: it is asked at the last moment before the device is told.
    """

    name: str
    acts: bool

    def off(self, node: str, allowed: Callable[[], None] = always) -> None:
        """Switch the node off; a device that only proves does nothing."""

    def on(self, node: str, allowed: Callable[[], None] = always) -> None:
        """Switch it on again."""

    def state(self, node: str) -> str:
        """`off`, `on` or `unknown`."""

    def monitor(self) -> None:
        """Whether the device itself works."""


class NodeMeans:
    """The devices of one level."""

    def __init__(
        self, devices: Mapping[str, Device], allowed: Callable[[], None], confirm: Callable[[], None] = always
    ) -> None:
        """allowed: raises when this process may not act any more, by its own clock: asked for as long as a device is at
        work. confirm: the same by etcd's word: asked once, right before the device is told."""
        self._devices = devices
        self._allowed = allowed
        self._confirm = confirm
        self._acted = False
        self._off: dict[str, str] = {}
        self._failure: Reason | None = None

    def look(self, record: FenceRecord) -> Isolation | None:
        """None before anything was done in this process, unless it is hopeless; then what the devices say."""
        failure = self._failure or self._missing(record)
        if failure is not None:
            return Isolation(failure=failure)
        if not self._acted:
            return None
        waiting_for = [name for name in record.level.devices if not self._is_off(name, record.target.node)]
        if waiting_for:
            return Isolation(waiting=reason("waiting-device", device=", ".join(waiting_for)))
        told = "; ".join(f"device {name}: {self._off[name]}" for name in record.level.devices)
        return Isolation(proof=Proof("powered-off", record.target.node, told))

    def act(self, record: FenceRecord) -> Isolation:
        """Switch the node off by every device in turn, and read back."""
        self._acted = True
        node = record.target.node
        self._failure = self._missing(record)
        for name in record.level.devices:
            self._failure = self._failure or self._switch_off(name, node)
        return self.look(record) or Isolation(failure=self._failure)

    def power_on(self, record: FenceRecord) -> None:
        """Switch the node on by every device that acts. Raises DeviceError."""
        for name in reversed(record.level.devices):
            self._devices[name].on(record.target.node, self._last_look())

    def _last_look(self) -> Callable[[], None]:
        confirmed = False

        def allowed() -> None:
            nonlocal confirmed
            self._allowed()
            if not confirmed:
                self._confirm()
                confirmed = True

        return allowed

    def _missing(self, record: FenceRecord) -> Reason | None:
        if not record.level.devices:
            return reason("no-device", node=record.target.node)
        unknown = next((name for name in record.level.devices if name not in self._devices), None)
        return None if unknown is None else reason("unknown-device", device=unknown)

    def _switch_off(self, name: str, node: str) -> Reason | None:
        device = self._devices[name]
        if not device.acts:
            return None
        try:
            device.off(node, self._last_look())
            state = device.state(node)
        except DeviceError as error:
            return reason("device-failed", device=name, node=node, error=str(error))
        if state != "off":
            return reason("device-unproved", device=name, node=node, state=state)
        self._off[name] = "switched off, and it reads back off"
        return None

    def _is_off(self, name: str, node: str) -> bool:
        if name in self._off:
            return True
        try:
            confirmed = self._devices[name].state(node) == "off"
        except DeviceError:
            return False
        if confirmed:
            self._off[name] = "it says off"
        return confirmed
