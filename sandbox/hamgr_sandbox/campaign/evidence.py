"""Gathers the evidence of one schedule: the disk's log, the fences, and what hamgr told while it went on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hamgr.api.events import Event
from hamgr.cib.history import history_from_json
from hamgr.fencer.records import FenceRecord, Outcome
from hamgr.store.leadership import LEADER, WRITES
from hamgr_sandbox import kvapp
from hamgr_sandbox.campaign.checkers import FenceSeen, Intent, Moment, OnRecord, Plugging, Switching, Written
from hamgr_sandbox.campaign.etcd_history import EtcdHistory
from hamgr_sandbox.campaign.harness import APPLICATION, DISK, SERVICE, Harness
from hamgr_sandbox.campaign.schedule import NODES
from hamgr_sandbox.plane import POWER_SWITCH

_NOT_RUNNING, _UNDER_WAY = 7, 193
_STATES, _HISTORY = "state/nodes/", "state/history/"
_OF_THE_APPLICATION = (DISK, APPLICATION, SERVICE)
_PLUGGING = re.compile(r"^([-0-9]+ [:,0-9]+) .*disk (\S+) (attached to|detached from) node (\S+)$")
_SWITCHING = re.compile(r"^([-0-9]+ [:,0-9]+) .*node (\S+) switched (on|off)$")
_STARTS = {True: "started", False: "start-failed"}
_STOPS = {True: "stopped", False: "stop-failed"}


class EvidenceCollector:
    """Made at a schedule's begin; asked at its end for what happened since. Raises OSError, ValueError, ApiError."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._revision = harness.past.revision()
        self._fences = {kept.key for kept in harness.past.read("fences/")}
        self._events = max((kept.key for kept in harness.past.read("events/")), default="")
        self._logs = {node: self._log(node).stat().st_size for node in NODES}
        pod = harness.active_pod()
        self.holders = frozenset({str(pod["spec"]["nodeName"])} if pod else ())

    def disk(self, acknowledged: Sequence[kvapp.Acknowledged]) -> kvapp.Audit:
        """The verdict on the application's log, where it is mounted now."""
        return kvapp.audit(self._harness.log_of_active_pod(), acknowledged)

    def fences(self) -> list[FenceSeen]:
        """The fences that were begun since."""
        past = self._harness.past
        new = [kept for kept in past.read("fences/") if kept.key not in self._fences]
        return [_seen(past, FenceRecord.from_json(kept.value), kept.create_revision) for kept in new]

    def moments(self) -> list[Moment]:
        """What hamgr told of the application's instances since, in order of time."""
        events = [kept for kept in self._harness.past.read("events/") if kept.key > self._events]
        fenced = self._fenced_nodes()
        told = [moment for kept in events for moment in _of_event(Event.from_value(kept.value), fenced)]
        looked = [moment for node in NODES for moment in _of_log(self._news(node))]
        return sorted([*looked, *told], key=lambda moment: _seconds(moment.at))

    def storage(self) -> list[Plugging]:
        """Everything that the storage has done so far, by its own log."""
        log = (self._harness.sandbox.control.logs / "attacher.log").read_text(errors="replace")
        return [
            Plugging(_seconds(found[1].replace(",", ".")), found[2], found[4], found[3] == "attached to")
            for found in map(_PLUGGING.search, log.splitlines())
            if found
        ]

    def switchings(self) -> list[Switching]:
        """Everything that the power switch has done so far, by its own log."""
        log = (self._harness.sandbox.switch.logs / f"{POWER_SWITCH}.log").read_text(errors="replace")
        return [
            Switching(_seconds(found[1].replace(",", ".")), found[2], found[3] == "on")
            for found in map(_SWITCHING.search, log.splitlines())
            if found
        ]

    def writes(self) -> list[Written]:
        """Every write of hamgr's state since, the newest first, by the key that each of them changes."""
        past, found = self._harness.past, []
        kept = past.get(WRITES)
        while kept is not None and kept.mod_revision > self._revision:
            leader = past.get(LEADER, kept.mod_revision)
            led_by = "" if leader is None else str(leader.value["id"])
            found.append(Written(kept.mod_revision, str(kept.value["by"]), led_by))
            kept = past.get(WRITES, kept.mod_revision - 1)
        return found

    def intents(self, revisions: Iterable[int]) -> list[Intent]:
        """The starts of the application, its disk and its Service that were put on record at one of these revisions."""
        found = []
        for revision in revisions:
            for kept in self._harness.past.changed(_HISTORY, revision):
                node, resource = kept.key.removeprefix(_HISTORY).split("/")
                begun = on_record(node, {}, kept.value)
                if resource in _OF_THE_APPLICATION and (begun.task, begun.rc) == ("start", _UNDER_WAY):
                    found.append(Intent(revision, resource, node, self._others(revision, resource, node)))
        return found

    def _others(self, revision: int, resource: str, node: str) -> tuple[OnRecord, ...]:
        """What was on record of a resource on all nodes but one."""
        past = self._harness.past
        states = {kept.key.removeprefix(_STATES): kept.value for kept in past.read(_STATES, revision)}
        histories = {kept.key: kept.value for kept in past.read(_HISTORY, revision)}
        return tuple(
            on_record(other, state, histories.get(f"{_HISTORY}{other}/{resource}"))
            for other, state in states.items()
            if other != node
        )

    def _fenced_nodes(self) -> dict[str, str]:
        """Succeeded fences that prove the application gone from a node, and which."""
        records = [FenceRecord.from_json(kept.value) for kept in self._harness.past.read("fences/")]
        return {record.id: record.target.node for record in records if record.outcome is Outcome.SUCCEEDED}

    def _news(self, node: str) -> str:
        with self._log(node).open(errors="replace") as log:
            log.seek(self._logs[node])
            return log.read()

    def _log(self, node: str) -> Path:
        return self._harness.sandbox.host(node).logs / "hamgrd.log"


def _seen(past: EtcdHistory, record: FenceRecord, began: int) -> FenceSeen:
    standings = {kept.key.rpartition("/")[2]: str(kept.value.get("standing", "")) for kept in past.read(_STATES, began)}
    tokens = set()
    for token in {*record.tokens}:
        leader = past.get("leader", token)
        if leader is not None and leader.create_revision == token:
            tokens.add(token)
    return FenceSeen(record, standings, frozenset(tokens))


def on_record(node: str, state: Mapping[str, Any], history: Mapping[str, Any] | None) -> OnRecord:
    """A node's state and one resource's history there, as etcd has them."""
    ops = () if history is None else history_from_json(history).ops
    last = next((op for op in ops if op.id.endswith("_last_0")), None)
    standing = str(state.get("standing", ""))
    return OnRecord(node, standing) if last is None else OnRecord(node, standing, last.operation, last.rc)


def _of_event(event: Event, fenced: Mapping[str, str]) -> Iterator[Moment]:
    if event.code == "fence" and (node := fenced.get(str(event.data.get("fence")))):
        yield Moment("fenced", node, event.at)
    if event.resource != APPLICATION:
        return
    if event.code == "operation_unknown":
        yield Moment("unknown", event.node, event.at)
    if event.code == "operation":
        rc = event.data.get("rc")
        match event.data.get("task"):
            case "start":
                yield Moment(_STARTS[rc == 0], event.node, event.at)
            case "stop":
                yield Moment(_STOPS[rc == 0], event.node, event.at)


def _of_log(text: str) -> Iterator[Moment]:
    """Probes are no events; the leader's log has them. What a recurring monitor misses is no proof: a stop is due."""
    for line in text.splitlines():
        if f'"monitor of {APPLICATION} on ' not in line:
            continue
        try:
            told = json.loads(line)
        except ValueError:  # a line that a crash has torn
            continue
        if told.get("event") == "operation" and (told.get("rc"), told.get("interval_ms")) == (_NOT_RUNNING, 0):
            node = str(told["text"]).removeprefix(f"monitor of {APPLICATION} on ").split(" ")[0]
            yield Moment("absent", node, str(told["timestamp"]))


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
