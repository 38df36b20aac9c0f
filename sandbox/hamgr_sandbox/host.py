"""A node of the sandbox as a machine that can be crashed, frozen and cut off, with its disks and its cable."""

import fcntl
import json
import signal
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from hamgr.api.exits import Exit
from hamgr_sandbox import plane, processes
from hamgr_sandbox.disks import DiskStore
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.init import Spec
from hamgr_sandbox.layout import Layout, Record
from hamgr_sandbox.machine import Machine
from hamgr_sandbox.network import Cut, Direction, Endpoint, Network, Peer
from hamgr_sandbox.processes import ProcessId

_DEATH_TIMEOUT_S = 10.0
# Where the node agent has links in place of mounts; apart from the name because glob skips links that lead nowhere.
_MOUNTS = (("plugins/kubernetes.io/csi/*/*", "globalmount"), ("pods/*/volumes/kubernetes.io~csi/*", "mount"))


class Host(Machine):
    """One node. Every method may be called from any process; nothing is remembered but in the node's directory."""

    def __init__(self, layout: Layout, record: Record, name: str) -> None:
        super().__init__(name, layout.node(name))
        self.number = record.node_number(name)
        self.address = record.plan.node(self.number)
        self._layout = layout
        self._record = record
        self._network = None if record.loopback else Network(record.id, record.plan)

    def start(self) -> None:
        """Boot it: a new boot id, its cable as it was. Returns at once. Idempotent."""
        with self._power():
            if not self.process():
                self._switch_on()

    def _switch_on(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.home / "boot_id").write_text(f"{uuid.uuid4()}\n")
        self.held_file.unlink(missing_ok=True)
        if self._record.loopback:
            self._forget_mounts()
        if self._network:
            self._network.add_node(self.number, self._record.options.nodes)
        self._apply(self.cuts())
        self.boot(
            Spec(
                services=plane.node_services(self._layout, self._record, self.name),
                log=str(self.logs / "init.log"),
                held=str(self.held_file),
                isolate=not self._record.loopback,
                hostname=self.name,
                netns=self._network.node_namespace(self.number) if self._network else "",
                boot_id=str(self.home / "boot_id"),
            )
        )

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command as it is to be run to have the node's place in the network."""
        if self._network is None:
            return list(command)
        return ["ip", "netns", "exec", self._network.node_namespace(self.number), *command]

    def _forget_mounts(self) -> None:
        """Without root mounts are symbolic links, which do not vanish with a kernel by themselves."""
        for folders, name in _MOUNTS:
            for folder in (self.home / "kubelet").glob(folders):
                if (folder / name).is_symlink():
                    (folder / name).unlink()
        self._layout.disks.mkdir(exist_ok=True)
        self._layout.mounts(self.name).write_text("")

    def crash(self) -> None:
        """Pull the plug: everything on it ends at the same instant, and what its disks had not synced is gone.

        The disks stay attached, as a cloud's do. Without root the processes die one after another within milliseconds,
        and nothing unsynced is lost. Idempotent.
        """
        with self._power():
            if process := self.process():
                self._switch_off(process)

    @contextmanager
    def _power(self) -> Iterator[None]:
        """Plugging in and out, by the power switch and by others, are one after another."""
        with (self.home / "power.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _switch_off(self, process: ProcessId) -> None:
        disks = DiskStore(self._layout.disks)
        with disks.pinned(self.name):
            self._pull_the_plug(process)
            disks.release_stalled(self.name)
            process.wait_gone(_DEATH_TIMEOUT_S)
            disks.lose_unsynced(self.name)
        if self._network:
            self._network.remove_node(self.number)

    def _pull_the_plug(self, process: ProcessId) -> None:
        if self._record.loopback:
            processes.kill_tree(process)
        else:
            process.send(signal.SIGKILL)  # the kernel ends the whole process namespace with its init

    def cuts(self) -> list[Cut]:
        """The partitions in force."""
        try:
            listed = json.loads(self._layout.cuts(self.name).read_text())
        except (OSError, ValueError):
            return []
        return [Cut(Peer(peer), Direction(direction)) for peer, direction in listed]

    def partition(self, peer: Peer = Peer.ALL, direction: Direction = Direction.BOTH) -> None:
        """Cut it off; its processes run on. Adds to the partitions that are in force."""
        if self._record.loopback and peer in (Peer.ALL, Peer.CLIENTS):
            text = "without root a node can be cut off from etcd and the API server, not from its clients"
            raise SandboxError(
                f"{text}: use --from etcd and --from api, or run the sandbox as root", Exit.NO_PERMISSION
            )
        self._set_cuts([*(cut for cut in self.cuts() if cut.peer != peer), Cut(peer, direction)])

    def heal(self) -> None:
        """Undo every `partition`. Idempotent."""
        self._set_cuts([])

    def _set_cuts(self, cuts: Sequence[Cut]) -> None:
        if self._network is None or self.process():  # a crashed node's cable is cut when it is plugged in again
            self._apply(cuts)
        unfinished = self.home / "cuts.new"
        unfinished.write_text(json.dumps([[cut.peer, cut.direction] for cut in cuts]))
        unfinished.rename(self._layout.cuts(self.name))

    def _apply(self, cuts: Sequence[Cut]) -> None:
        if self._network:
            etcd = [_endpoint(self._record.seen_from(self.name, url)) for url in self._record.etcd]
            api = _endpoint(self._record.seen_from(self.name, self._record.api))
            self._network.partition(self.number, cuts, etcd, [api])


def _endpoint(url: str) -> Endpoint:
    parts = urlsplit(url)
    return Endpoint(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
