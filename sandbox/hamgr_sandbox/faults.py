"""What can go wrong with disks: an attacher that is slow or never answers, a disk that hangs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hamgr.api.exits import Exit
from hamgr_sandbox import observe
from hamgr_sandbox.attacher import Fault, read_faults, set_faults
from hamgr_sandbox.client import ApiError
from hamgr_sandbox.disks import DiskError, DiskStore
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.layout import Layout


class StorageFaults:
    """Faults of one sandbox's storage. A disk is named by its volume handle or by a claim of the default namespace."""

    def __init__(self, layout: Layout, kubeconfig: Path) -> None:
        self._disks = layout.disks
        self._kubeconfig = kubeconfig

    def slow(self, operation: str, seconds: float, disk: str | None = None) -> None:
        """Let `attach` or `detach` take so many seconds, for one disk or all."""
        self._add(operation, disk, lambda fault: replace(fault, latency_s=seconds))

    def hang(self, operation: str, disk: str | None = None) -> None:
        """Let `attach` or `detach` never end, for one disk or all."""
        self._add(operation, disk, lambda fault: replace(fault, hang=True))

    def clear(self) -> None:
        """End all faults of attaching and detaching. Idempotent."""
        set_faults(self._disks, {})

    def stall(self, disk: str) -> None:
        """Let every write to a mounted disk wait until `unstall`. Raises SandboxError."""
        try:
            DiskStore(self._disks).stall(self.handle(disk))
        except DiskError as error:
            raise SandboxError(str(error), Exit.UNAVAILABLE) from error

    def unstall(self, disk: str) -> None:
        """Undo `stall`. Idempotent."""
        DiskStore(self._disks).unstall(self.handle(disk))

    def handle(self, disk: str) -> str:
        """The volume handle of a disk or claim. Raises SandboxError."""
        if any(each.handle == disk for each in DiskStore(self._disks).disks()):
            return disk
        try:
            claim = observe.read(self._kubeconfig, f"/api/v1/namespaces/default/persistentvolumeclaims/{disk}")
            volume = observe.read(self._kubeconfig, f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
            return str(volume["spec"]["csi"]["volumeHandle"])
        except (ApiError, KeyError) as error:
            text = f"{disk!r} is neither a disk nor a bound claim of the default namespace ({error})"
            raise SandboxError(text, Exit.NO_OBJECT) from error

    def _add(self, operation: str, disk: str | None, change: Callable[[Fault], Fault]) -> None:
        key = f"{operation}:{self.handle(disk)}" if disk else operation
        faults = read_faults(self._disks)
        set_faults(self._disks, {**faults, key: change(faults.get(key, Fault()))})
