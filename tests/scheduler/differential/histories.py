"""Draws what has happened in a cluster and writes it as a CIB's status section.

Histories are told as stories: where a resource was meant to be, what ran there, and what (if anything) went wrong last.
So they are such as Pacemaker's controller records, contradictions included that real clusters get into: active on two
nodes, operations whose result nobody saw, resources that nobody has configured any more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

from scheduler.differential.drawing import Dice
from scheduler.differential.plan import FENCE_AGENT, Plan, PlannedNode, PlannedPrimitive, PlannedResource

UUID = "6a5ce7d4-0000-4000-8000-000000000001"
OK, ERROR, NOT_INSTALLED, NOT_CONFIGURED, NOT_RUNNING, PROMOTED, FAILED_PROMOTED, UNKNOWN = 0, 1, 5, 6, 7, 8, 9, 193
DONE, PENDING, CANCELLED, TIMED_OUT, NOT_SUPPORTED, FAILED = 0, -1, 1, 2, 3, 4

# How each node state of the plan looks in node_state: in_ccm, crmd, join, expected.
_NODE_STATE = {
    "online": ("true", "online", "member", "member"),
    "offline": ("false", "offline", "down", "down"),
    "lost": ("false", "offline", "member", "member"),
    "process-lost": ("true", "offline", "member", "member"),
    "pending": ("true", "online", "pending", "member"),
    "shutting-down": ("true", "online", "member", "member"),
    "banned": ("true", "online", "banned", "member"),
    "down-expected-member": ("false", "offline", "down", "member"),
    "terminate": ("true", "online", "member", "member"),
    "left-in-middle": ("false", "online", "member", "down"),
}
_LIVELY = frozenset({"online", "shutting-down", "process-lost", "lost", "banned", "terminate", "left-in-middle"})


def written(plan: Plan, dice: Dice, now: int) -> Element:
    """The <status> element."""
    status = Element("status")
    states = {node.name: _NodeRecord(node, now) for node in plan.nodes if node.state != "unseen"}
    teller = _Teller(plan, dice, states, now)
    for resource in plan.resources:
        teller.resource(resource)
    if dice.chance(6):
        teller.orphan()
    order = list(states.values())
    if dice.chance(15):
        order.reverse()
    for record in order:
        if plan.unfencing and dice.chance(60):
            record.attributes["#node-unfenced"] = str(now - 1000)
        status.append(_node_state(record, dice, now))
    for ticket in plan.tickets:
        _ticket(status, ticket, dice, now)
    return status


def _ticket(status: Element, ticket: str, dice: Dice, now: int) -> None:
    if dice.chance(20):
        return
    tickets = SubElement(status, "tickets")
    state = SubElement(tickets, "ticket_state", {"id": ticket, "granted": dice.pick(("true", "false"))})
    if dice.chance(60):
        state.set("last-granted", str(now - 100))
    if dice.chance(25):
        state.set("standby", "true")


@dataclass
class _NodeRecord:
    """What is recorded about one node."""

    node: PlannedNode
    now: int
    histories: dict[str, Element] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    calls: int = 3

    @property
    def lively(self) -> bool:
        return self.node.state in _LIVELY

    def history(self, identity: str, primitive: PlannedPrimitive) -> _History:
        kind = {"class": "ocf", "provider": "pacemaker", "type": "Dummy"}
        if primitive.fence_device:
            kind = {"class": "stonith", "type": FENCE_AGENT}
        elif primitive.remote:
            kind["type"] = "remote"
        if identity not in self.histories:
            self.histories[identity] = Element("lrm_resource", {"id": identity, **kind})
        return _History(self, identity, self.histories[identity], primitive)


@dataclass
class _History:
    """Writes the operations of one resource on one node."""

    record: _NodeRecord
    identity: str
    element: Element
    primitive: PlannedPrimitive

    def op(
        self, task: str, rc: int = OK, status: int = DONE, *, interval: int = 0, expected: int = OK, ago: int = 3600
    ) -> Element:
        """Record an operation; a newer one of the same kind replaces the older, as in a real history."""
        self.record.calls += 1
        slot = f"{self.identity}_last_0" if interval == 0 else f"{self.identity}_{task}_{interval}"
        return self._write(slot, task, rc, status, interval, expected, ago)

    def failure(
        self, task: str, rc: int, status: int, *, interval: int = 0, expected: int = OK, ago: int = 100
    ) -> None:
        """Record a failed operation, which keeps a record of its own besides the usual one."""
        self.op(task, rc, status, interval=interval, expected=expected, ago=ago)
        slot = f"{self.identity}_last_failure_0"
        self._write(slot, task, rc, status, interval, expected, ago)

    def _write(self, slot: str, task: str, rc: int, status: int, interval: int, expected: int, ago: int) -> Element:
        for old in [entry for entry in self.element if entry.get("id") == slot]:
            self.element.remove(old)
        call = -1 if status == PENDING else self.record.calls
        key = f"{self.record.calls + 10}:5:{expected}:{UUID}"
        when = str(self.record.now - ago)
        return SubElement(
            self.element,
            "lrm_rsc_op",
            {
                "id": slot,
                "operation_key": f"{self.identity}_{task}_{interval}",
                "operation": task,
                "crm-debug-origin": "do_update_resource",
                "crm_feature_set": "3.16.1",
                "transition-key": key,
                "transition-magic": f"{status}:{rc};{key}",
                "on_node": self.record.node.name,
                "call-id": str(call),
                "rc-code": str(rc),
                "op-status": str(status),
                "interval": str(interval),
                "last-rc-change": when,
                "exec-time": "10",
                "queue-time": "0",
                "op-digest": self._digest(interval),
            },
        )

    def _digest(self, interval: int) -> str:
        params = dict(self.primitive.params)
        if interval:
            params["CRM_meta_timeout"] = "20000"
        text = "".join(f' {name}="{value}"' for name, value in sorted(params.items()))
        return hashlib.md5(f" <parameters{text}/>\n".encode()).hexdigest()

    def monitors(self, role: str) -> None:
        """The recurring monitors that run in this role, all well."""
        for interval, wanted in self.primitive.monitors:
            if (
                wanted == role
                or (wanted == "" and role != "Promoted")
                or (wanted == "Unpromoted" and role == "Unpromoted")
            ):
                self.op(
                    "monitor",
                    PROMOTED if role == "Promoted" else OK,
                    interval=interval,
                    expected=OK if role != "Promoted" else PROMOTED,
                )


class _Teller:
    """Tells what happened to each resource."""

    def __init__(self, plan: Plan, dice: Dice, states: dict[str, _NodeRecord], now: int) -> None:
        self.plan = plan
        self.dice = dice
        self.states = states
        self.now = now
        self.alive = [record for record in states.values() if record.lively]
        self.members = [record for record in self.alive if record.node.kind == "member"]
        self.untouched = dice.chance(12)  # a cluster that has just been set up

    def resource(self, resource: PlannedResource) -> None:
        if self.untouched or not self.alive:
            return
        if resource.clone:
            self.clone(resource)
            return
        places = self.places(resource.members)
        if not places:
            return
        home = self.dice.pick(places) if self.dice.chance(70) else None
        for number, member in enumerate(resource.members):
            at = home
            if number and self.dice.chance(12):
                at = self.dice.pick((None, *places))
            self.single(member, at)
            if member.guest and at is not None:
                self.guest(member, at)

    def places(self, members: list[PlannedPrimitive]) -> list[_NodeRecord]:
        """Where resources may have been."""
        return self.members if any(member.only_on_members for member in members) else self.alive

    def guest(self, machine: PlannedPrimitive, host: _NodeRecord) -> None:
        """The connection to a guest node, which runs where its virtual machine does."""
        if self.dice.chance(85):
            history = host.history(machine.guest, PlannedPrimitive(machine.guest, remote=True))
            history.element.set("container", machine.id)
            history.op("start")

    def single(self, primitive: PlannedPrimitive, home: _NodeRecord | None) -> None:
        dice = self.dice
        places = self.places([primitive])
        for record in places:
            if record is home:
                self.active(record.history(primitive.id, primitive), promotable=False)
            elif dice.chance(90):
                self.inactive(record.history(primitive.id, primitive))
        if home is not None and len(places) > 1:
            other = dice.pick([record for record in places if record is not home])
            if dice.chance(4) and not primitive.fence_device:
                self.active(other.history(primitive.id, primitive), promotable=False)
            elif primitive.allow_migrate and dice.chance(35):
                self.migration(primitive, home, other)

    def clone(self, resource: PlannedResource) -> None:
        dice = self.dice
        numbers = iter(range(100))
        for record in self.places(resource.members):
            runs = dice.chance(72)
            copies = dice.number(1, resource.node_max) if resource.unique else 1
            for _ in range(copies):
                number = next(numbers)
                promotable = resource.promotable
                for member in resource.members:
                    identity = f"{member.id}:{number}" if resource.unique else member.id
                    history = record.history(identity, member)
                    if runs and not dice.chance(4):
                        self.active(history, promotable=promotable)
                    elif dice.chance(92):
                        self.inactive(history)
                    else:
                        record.histories.pop(identity, None)
                    if promotable and dice.chance(70):
                        score = dice.pick(("10", "5", "100", "-INFINITY", "1", "0", "-5", "INFINITY"))
                        record.attributes[f"master-{member.id}"] = score

    # --- stories -----------------------------------------------------------------------------------------

    def inactive(self, history: _History) -> None:
        dice = self.dice
        story = dice.weighted(
            (
                (70, "probed"),
                (14, "stopped"),
                (4, "odd probe"),
                (3, "pending probe"),
                (3, "start failed, stopped"),
                (3, "asked by a person"),
            )
        )
        if story == "probed":
            history.op("monitor", NOT_RUNNING, expected=NOT_RUNNING)
        elif story == "stopped":
            history.op("stop")
        elif story == "odd probe":
            rc, status = dice.pick(
                (
                    (NOT_INSTALLED, DONE),
                    (NOT_INSTALLED, 7),
                    (ERROR, DONE),
                    (ERROR, TIMED_OUT),
                    (2, DONE),
                    (NOT_CONFIGURED, DONE),
                )
            )
            history.failure("monitor", rc, status, expected=NOT_RUNNING)
        elif story == "pending probe":
            history.op("monitor", UNKNOWN, PENDING, expected=NOT_RUNNING)
        elif story == "start failed, stopped":
            history.failure("start", ERROR, DONE)
            history.op("stop", ago=50)
            self.count(history, "start", 0)
        else:
            history.op("stop", NOT_RUNNING)

    def active(self, history: _History, *, promotable: bool) -> None:
        dice = self.dice
        found = dice.chance(8)
        if found:
            history.op(
                "monitor", dice.pick((OK, PROMOTED)) if promotable else OK, expected=dice.pick((NOT_RUNNING, OK))
            )
        else:
            history.op("start")
        role = "Started"
        if promotable:
            role = "Unpromoted"
            if dice.chance(38):
                history.op("promote")
                role = "Promoted"
        if dice.chance(85) and not found:
            history.monitors(role)
        if dice.chance(24):
            self.trouble(history, role)
        elif dice.chance(6):
            self.changed(history)
        if dice.chance(2):
            history.op("monitor", interval=33_000)

    def trouble(self, history: _History, role: str) -> None:
        dice = self.dice
        usual = (
            (34, "monitor"),
            (10, "stop"),
            (12, "start"),
            (16, "pending"),
            (6, "old failure"),
            (6, "degraded"),
            (4, "lone fail count"),
        )
        story = dice.weighted((*usual, (14, "promotion")) if role in ("Promoted", "Unpromoted") else usual)
        if story == "monitor":
            self.monitor_failed(history, role)
        elif story in ("stop", "start"):
            rc, status = dice.pick(
                (
                    (ERROR, DONE),
                    (ERROR, TIMED_OUT),
                    (NOT_INSTALLED, DONE),
                    (NOT_CONFIGURED, DONE),
                    (4, DONE),
                    (2, DONE),
                    (3, DONE),
                    (UNKNOWN, FAILED),
                )
            )
            history.failure(story, rc, status)
            self.count(history, story, 0)
        elif story == "pending":
            task = dice.pick(("start", "stop", "monitor", *(("promote", "demote") if role != "Started" else ())))
            history.op(task, UNKNOWN, PENDING, interval=0, expected=OK, ago=20)
        elif story == "promotion":
            task = dice.pick(("promote", "demote"))
            history.failure(task, dice.pick((ERROR, NOT_RUNNING, FAILED_PROMOTED)), dice.pick((DONE, TIMED_OUT)))
            self.count(history, task, 0)
        elif story == "old failure":
            self.monitor_failed(history, role, ago=7200)
        elif story == "degraded":
            interval = history.primitive.monitors[0][0] if history.primitive.monitors else 10_000
            history.op(
                "monitor",
                190 if role != "Promoted" else 191,
                interval=interval,
                expected=OK if role != "Promoted" else PROMOTED,
            )
        else:
            self.count(history, "monitor", 10_000)

    def monitor_failed(self, history: _History, role: str, ago: int = 100) -> None:
        dice = self.dice
        fitting = [interval for interval, wanted in history.primitive.monitors if wanted in ("", role)]
        interval = dice.pick(fitting) if fitting else 10_000
        rc, status = dice.pick(
            (
                (NOT_RUNNING, DONE),
                (ERROR, DONE),
                (ERROR, TIMED_OUT),
                (NOT_INSTALLED, DONE),
                (UNKNOWN, FAILED),
                (FAILED_PROMOTED, DONE),
                (PROMOTED, DONE),
            )
        )
        if rc == OK or (rc == PROMOTED and role == "Promoted"):
            rc = NOT_RUNNING
        history.failure(
            "monitor", rc, status, interval=interval, expected=PROMOTED if role == "Promoted" else OK, ago=ago
        )
        if dice.chance(85):
            self.count(history, "monitor", interval, ago=ago)

    def count(self, history: _History, task: str, interval: int, ago: int = 100) -> None:
        attributes = history.record.attributes
        name = history.identity.split(":")[0]
        attributes[f"fail-count-{name}#{task}_{interval}"] = self.dice.pick(
            ("1", "2", "INFINITY") if task != "start" else ("INFINITY", "1")
        )
        if self.dice.chance(90):
            attributes[f"last-failure-{name}#{task}_{interval}"] = str(self.now - ago)

    def changed(self, history: _History) -> None:
        """The last start ran with other parameters than are configured now."""
        for op in history.element:
            if op.get("operation") == "start":
                op.set("op-digest", "0" * 32)
                if self.dice.chance(40):
                    op.set("op-force-restart", " state ")
                    op.set("op-restart-digest", hashlib.md5(b" <parameters/>\n").hexdigest())

    def migration(self, primitive: PlannedPrimitive, source: _NodeRecord, target: _NodeRecord) -> None:
        """The resource has been migrated away from its home, or the migration got stuck half-way."""
        outcome = self.dice.pick(
            ("complete", "no migrate_from", "migrate_from failed", "migrate_to failed", "source not stopped")
        )
        given = {"migrate_source": source.node.name, "migrate_target": target.node.name}
        there = target.history(primitive.id, primitive)
        here = source.history(primitive.id, primitive)
        failed = outcome == "migrate_to failed"
        here.op("migrate_to", ERROR if failed else OK, ago=200).attrib.update(given)
        if outcome in ("complete", "source not stopped"):
            there.op("migrate_from", ago=150).attrib.update(given)
        elif outcome == "migrate_from failed":
            there.op("migrate_from", ERROR, ago=150).attrib.update(given)
        if outcome == "complete":
            here.op("stop", ago=100)

    def orphan(self) -> None:
        """A resource that ran, and then was deleted from the configuration."""
        if self.members:
            record = self.dice.pick(self.members)
            history = record.history("forgotten", PlannedPrimitive("forgotten"))
            if self.dice.chance(70):
                history.op("start")
                if self.dice.chance(50):
                    history.op("monitor", interval=10_000)
            else:
                history.op("stop")
            if self.dice.chance(20):
                self.count(history, "monitor", 10_000)


def _node_state(record: _NodeRecord, dice: Dice, now: int) -> Element:
    node = record.node
    in_ccm, crmd, join, expected = _NODE_STATE[node.state]
    given = {"id": node.id, "uname": node.name, "in_ccm": in_ccm, "crmd": crmd, "join": join, "expected": expected}
    if node.kind != "member":
        given = {"id": node.id, "uname": node.name, "remote_node": "true", "in_ccm": dice.pick(("true", "false"))}
    element = Element("node_state", {**given, "crm-debug-origin": "do_state_transition"})
    attributes = dict(record.attributes)
    if node.state == "shutting-down":
        attributes["shutdown"] = str(now - 30)
    if node.state == "terminate":
        attributes["terminate"] = "true"
    if dice.chance(3):
        attributes["standby"] = "on"
    if dice.chance(3):
        attributes["#health-cpu"] = dice.pick(("red", "yellow"))
    if dice.chance(6):
        attributes["rank"] = "7"
    if node.state in ("offline", "lost") and dice.chance(50):
        attributes = {}
    lrm = SubElement(element, "lrm", {"id": node.id})
    resources = SubElement(lrm, "lrm_resources")
    for history in record.histories.values():
        if len(history):
            resources.append(history)
    if attributes:
        transient = SubElement(element, "transient_attributes", {"id": node.id})
        owner = SubElement(transient, "instance_attributes", {"id": f"status-{node.id}"})
        for number, (name, value) in enumerate(attributes.items()):
            SubElement(owner, "nvpair", {"id": f"status-{node.id}-{number}", "name": name, "value": value})
    return element
