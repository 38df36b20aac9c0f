"""The leader's fences: what is running, what has ended, what may not begin, and who has come back.

Between the term (which knows nodes and resources) and the fencer (which knows pods, volumes and devices).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from hamgr.clusterfile.fencing import Fencing, open_secrets
from hamgr.controller.fencing.cleanup import FenceCleanup
from hamgr.controller.fencing.device_watch import DeviceWatch
from hamgr.controller.fencing.levels import fencing_config
from hamgr.controller.nodes.rejoin import Rejoin
from hamgr.fencer.devices import CLOUD
from hamgr.fencer.history import surplus
from hamgr.fencer.plan import Plan
from hamgr.fencer.reasons import Reason
from hamgr.fencer.records import Confirmation, FenceRecord, Outcome, Target
from hamgr.fencer.topology import Delay, FencingConfig, Level, LevelConfig

log = structlog.get_logger(__name__)


class FencerPort(Protocol):
    """What the controller needs of `hamgr.fencer.fencer.Fencer`."""

    def fence(
        self,
        target: Target,
        why: Reason,
        requested_by: str,
        levels: Sequence[LevelConfig] | None = None,
        confirmation: Confirmation | None = None,
        earlier: Sequence[FenceRecord] = (),
    ) -> FenceRecord: ...

    def resume(self, record: FenceRecord, superseded_by: str = "") -> bool: ...

    def supersede(self, fence_id: str, by: str) -> None: ...

    def plan(self, target: Target, levels: Sequence[LevelConfig] | None = None) -> Plan: ...

    def monitor_devices(self) -> dict[str, str]: ...

    def monitor_device(self, name: str) -> str: ...

    def device_states(self, name: str, nodes: Iterable[str]) -> dict[str, str]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """A fence that is over. `pods_of` are the resources whose pods were fenced; None when it was the whole node."""

    target: str
    node: str
    pods_of: tuple[str, ...] | None
    outcome: Outcome

    @property
    def succeeded(self) -> bool:
        return self.outcome is Outcome.SUCCEEDED


class Fences:
    """All fences of a term. Used by the control thread alone."""

    def __init__(
        self,
        make_fencer: Callable[[FencingConfig], FencerPort],
        records: Iterable[FenceRecord],
        *,
        allowed: Callable[[str, Iterable[FenceRecord]], Reason | None],
        doubt: Callable[[], Reason | None],
        describe: Callable[[str], Target],
        boots: Callable[[str], Iterable[str]],
        rejoin: Rejoin,
        fence_cleanup: FenceCleanup,
    ) -> None:
        """Take over earlier leaders' records, and go on with the fences among them that have not ended.

        make_fencer: a fencer with these settings; another one is made when they change.
        allowed: the guard's verdict on fencing a node now, given the history; None lets it begin.
        doubt: why our own view is not to be trusted now, which holds up operators' fences as well.
        describe: the node as a target, with its claims, boot id and self-fencing bound.
        boots: the boots that a node is seen in now, by its hamgrd and by its kubelet.
        returns: who finds out whether a fenced node is back. leftovers: who goes on with what a fence has left there.
        """
        self._make_fencer = make_fencer
        self._fencers: list[FencerPort] = []
        self._rejoin = rejoin
        self._fence_cleanup = fence_cleanup
        self._records: dict[str, FenceRecord] = {record.id: record for record in records}  # oldest first
        self._allowed = allowed
        self.doubt = doubt
        self._describe = describe
        self._boots = boots
        self._config = FencingConfig()
        self._unusable: list[str] = []
        self._device_watch: DeviceWatch | None = None
        self._changed: dict[str, float] = {}
        self._pending_resume = [record for record in self._records.values() if record.outcome is Outcome.PENDING]

    def configure(self, fencing: Fencing, nodes: Mapping[str, Mapping[str, str]], namespace: str = "default") -> None:
        """Take over the cluster file's levels and devices. nodes: name to node attributes; namespace: of Secrets."""
        config, self._unusable = fencing_config(fencing, nodes, namespace)
        if config != self._config or not self._fencers:
            self._config = config
            self._fencers.append(self._make_fencer(config))  # earlier ones end what they have begun
            self._watch_devices()
        self._unusable += open_secrets(fencing)
        for trouble in self._unusable:
            log.error("fence_device_unusable", error=trouble)
        superseded = _superseded(self._records.values())
        for record in self._pending_resume:
            log.info("fence_resumed", id=record.id, node=record.target.node, phase=str(record.phase))
            self._fencer.resume(self._as_seen_now(record), superseded.get(record.id, ""))
        self._pending_resume = []

    def _as_seen_now(self, record: FenceRecord) -> FenceRecord:
        """An earlier leader's fence, with the boots that its node is seen in now when a device will switch it off."""
        devices = [self._config.devices[name] for name in record.level.devices if name in self._config.devices]
        if all(device.agent == CLOUD for device in devices):  # it switches nothing off: its word may be about before
            return record
        return record.before_switching_off(self._boots(record.target.node))

    def _watch_devices(self) -> None:
        if self._device_watch is not None:
            self._device_watch.close()
        self._device_watch = DeviceWatch(self._fencer.monitor_devices) if self._config.devices else None

    def look_at_devices(self) -> None:
        """Have the devices monitored, every few minutes."""
        if self._device_watch is not None:
            self._device_watch.look()

    def device_troubles(self) -> tuple[str, ...]:
        """What is wrong with devices, as sentences."""
        return (*self._unusable, *self.sick_devices().values())

    def sick_devices(self) -> dict[str, str]:
        """The devices that did not work when they were last asked: what is wrong with each, for which nodes it is."""
        found = {} if self._device_watch is None else self._device_watch.found()
        return {name: self._sick(name, text) for name, text in found.items() if text}

    def _sick(self, name: str, text: str) -> str:
        users = [entry.nodes for entry in self._config.topology if any(name in level.devices for level in entry.levels)]
        needed = f"; it is to switch {', '.join(users)} off" if users else ""
        return f"{text}{needed} (`hamgr fence test {name}` asks it again)"

    @property
    def config(self) -> FencingConfig:
        """The levels and devices in force."""
        return self._config

    def device_test(self, name: str, nodes: Iterable[str]) -> dict[str, Any]:
        """Whether a device works and what it says of nodes. Asks the device: not for the control thread."""
        trouble = self._fencer.monitor_device(name)
        return {"device": name, "trouble": trouble, "states": self._fencer.device_states(name, nodes)}

    @property
    def _fencer(self) -> FencerPort:
        return self._fencers[-1]

    def close(self) -> None:
        """Let go of everything; the next leader goes on."""
        for fencer in self._fencers:
            fencer.close()
        if self._device_watch is not None:
            self._device_watch.close()

    @property
    def records(self) -> tuple[FenceRecord, ...]:
        """Everything that is remembered, newest first."""
        return tuple(reversed(self._records.values()))

    @property
    def running(self) -> tuple[FenceRecord, ...]:
        """What has not ended."""
        return tuple(record for record in self.records if record.outcome is Outcome.PENDING)

    def refusal(self, node: str) -> Reason | None:
        """Why a node may not be fenced now; None when it may."""
        return self._allowed(node, self.records)

    def note_change(self, at: float, node: str = "") -> None:
        """Something has changed (wall time) by which a fence that failed may succeed now: of a node, or of all."""
        self._changed[node] = at

    def changed_at(self, node: str) -> float:
        """When something last changed that a fence of the node depends on; wall time."""
        return max(self._changed.get("", 0.0), self._changed.get(node, 0.0))

    def fence_node(
        self, node: str, why: Reason, by: str, levels: tuple[LevelConfig, ...] = (), delay_s: float = 0.0
    ) -> FenceRecord:
        """Begin to fence a node, unless that is under way: then that fence is the answer.

        levels: named by somebody, who does not want the others: a fence by those only is begun beside any other.
        delay_s: how long its first level is held back, on top of what is configured for that.
        """
        for record in self.running:
            if record.target.node == node and record.target.pods is None and levels in ((), record.levels):
                return record
        first, *others = levels or self._config.levels_for(node)
        first = replace(first, delay=replace(first.delay, priority_s=delay_s))
        record = self._fencer.fence(self._describe(node), why, by, (first, *others))
        self._records[record.id] = record
        return record

    def fence_pod(self, target: Target, why: Reason, by: str, levels: tuple[LevelConfig, ...] = ()) -> FenceRecord:
        """Begin to fence one pod with its volumes."""
        record = self._fencer.fence(target, why, by, levels or self._usual(target))
        self._records[record.id] = record
        return record

    def confirm(self, node: str, why: Reason, confirmation: Confirmation) -> FenceRecord:
        """Take an operator's word that a node is off, at once, and in place of any fence of it that is under way.

        As in Pacemaker the word completes what is pending. An older fence that went on could switch the node off, or
        take its volumes, after the operator has brought it back.
        """
        levels = tuple(replace(level, delay=Delay()) for level in self._config.levels_named(node, Level.MANUAL))
        earlier = [record for record in self.running if record.target.node == node]
        target = self._describe(node)
        record = self._fencer.fence(target, why, confirmation.user, levels, confirmation, tuple(earlier))
        self._records[record.id] = record
        for older in earlier:
            for fencer in self._fencers if older.id != record.id else ():
                fencer.supersede(older.id, record.id)
        return record

    def plan(self, target: Target, levels: tuple[LevelConfig, ...] = ()) -> Plan:
        """What a fence would do, without doing it. Asks Kubernetes: not for the control thread. Raises KubeError."""
        return self._fencer.plan(target, levels or self._usual(target))

    def forgive(self, record: FenceRecord) -> None:
        """Take an operator's word that the fenced node may take part again."""
        self._rejoin.forgive(record)

    def _usual(self, target: Target) -> tuple[LevelConfig, ...]:
        """The node's levels; for a pod on a node that is alive, an orderly stop is tried before them."""
        usual = self._config.levels_for(target.node)
        return (LevelConfig(Level.STOP), *usual) if target.alive and target.pods is not None else usual

    def levels(self, node: str, name: str) -> tuple[LevelConfig, ...]:
        """The levels of one name for a node. Raises ValueError for an unknown name."""
        return self._config.levels_named(node, Level(name))

    def note(self, record: FenceRecord) -> Ended | None:
        """Take a record as the fencer has it now; says so when that fence has just ended."""
        before = self._records.get(record.id)
        self._records[record.id] = record
        self._forget_oldest()
        if record.outcome is Outcome.PENDING or (before is not None and before.outcome is not Outcome.PENDING):
            return None
        node, pods = record.target.node, record.target.pods
        if pods is None:
            return Ended(node, node, None, record.outcome)
        told = ", ".join(f"{namespace}/{name}" for namespace, name in pods)
        return Ended(told, node, tuple(name.removesuffix(f"-{node}") for _, name in pods), record.outcome)

    def cleared(self, node: str) -> bool:
        """Whether a fenced node was seen to be back, rid of what it was fenced for."""
        last = self.last_of(node)
        return last is None or self._rejoin.cleared(last)

    def why_away(self, node: str) -> str:
        """Why a fenced node that shows life does not count as back, and what to do; empty: not known."""
        last = self.last_of(node)
        return "" if last is None else self._rejoin.why(last)

    def look_for_returns(self, nodes: Iterable[str]) -> None:
        """Have somebody look whether these fenced nodes are back."""
        for node in nodes:
            last = self.last_of(node)
            if last is not None:
                self._rejoin.look(last)

    def go_on_with_leftovers(self, nodes: Iterable[str]) -> None:
        """Have somebody do what the fences of these nodes, which are away, have stepped over."""
        for node in nodes:
            last = self.last_of(node)
            if last is not None and not self._rejoin.cleared(last):
                self._fence_cleanup.look(last)

    def leftover(self, node: str) -> str:
        """What the last fence of a node has left and nobody could do yet; empty: nothing."""
        last = self.last_of(node)
        return "" if last is None else self._fence_cleanup.of(last)

    def last_of(self, node: str) -> FenceRecord | None:
        """The newest successful fence of a whole node."""
        for record in self.records:
            if record.target.node == node and record.fenced_whole_node:
                return record
        return None

    def _forget_oldest(self) -> None:
        """The fencer deletes the same ones from etcd."""
        ended = [record for record in self._records.values() if record.outcome is not Outcome.PENDING]
        for old in surplus(ended, self._config.keep_history):
            del self._records[old]


def _superseded(records: Iterable[FenceRecord]) -> dict[str, str]:
    """The fences under way that a later word about their node has superseded: each with the word's fence.

    records: oldest first. A leader that took the word may have died before those fences had ended.
    """
    found: dict[str, str] = {}
    under_way: list[FenceRecord] = []
    for record in records:
        if record.confirmation is not None and record.target.pods is None:
            node = record.target.node
            found |= {older.id: record.id for older in under_way if older.target.node == node and older.id not in found}
        if record.outcome is Outcome.PENDING:
            under_way.append(record)
    return found
