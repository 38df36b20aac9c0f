"""Generated clusters with bundles: containers with and without addresses and contained primitives, and what happened.

A bundle's implicit resources are asked from hamgr itself (their names, agents and parameters go into the histories);
were hamgr wrong about them, crm_simulate would find histories of resources it does not know, or other digests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element, SubElement

from scheduler.differential.clusters import NOW
from scheduler.differential.drawing import Dice, seeded_dice
from scheduler.differential.plan import FENCE_AGENT

from hamgr.cib.digest import op_digest
from hamgr.cib.xml.document import load_xml
from hamgr.scheduler import engine
from hamgr.scheduler.inputs import attributes
from hamgr.scheduler.state.entities import Replica, Resource
from hamgr.scheduler.state.working_set import WorkingSet

UUID = "6a5ce7d4-0000-4000-8000-000000000001"
OK, ERROR, NOT_INSTALLED, NOT_RUNNING, PROMOTED = 0, 1, 5, 7, 8
_NODE_STATE = {
    "online": ("true", "online", "member", "member"),
    "offline": ("false", "offline", "down", "down"),
    "lost": ("false", "offline", "member", "member"),
    "pending": ("true", "online", "pending", "member"),
}
SCORES = ("INFINITY", "100", "10", "1", "-10", "-INFINITY")


def bundle_cib_number(number: int) -> str:
    """The CIB of this number, always the same one."""
    return _document(seeded_dice(number))


def _document(dice: Dice) -> str:
    root = _Writer(dice).written()
    text = ET.tostring(root, encoding="unicode")
    root.append(_Teller(dice, root, engine.run(load_xml(text), datetime.fromtimestamp(NOW, UTC))).written())
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


# --- configuration ------------------------------------------------------------------------------------


class _Writer:
    """Draws a configuration and writes it."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.nodes = [f"node{i}" for i in range(1, dice.weighted(((30, 2), (50, 3), (20, 4))) + 1)]
        self.promotables: list[str] = []
        self.ids: list[str] = []

    def written(self) -> Element:
        dice = self.dice
        root = Element(
            "cib",
            {
                "crm_feature_set": "3.16.1",
                "validate-with": "pacemaker-3.9",
                "epoch": "1",
                "num_updates": "1",
                "admin_epoch": "0",
                "have-quorum": "0" if dice.chance(7) else "1",
                "dc-uuid": "node1",
            },
        )
        configuration = SubElement(root, "configuration")
        fencing = dice.chance(55)
        self.options(SubElement(configuration, "crm_config"), fencing)
        nodes = SubElement(configuration, "nodes")
        for name in self.nodes:
            element = SubElement(nodes, "node", {"id": name, "uname": name})
            self.nvset(element, "instance_attributes", f"{name}-attributes", self.maybe(6, "standby", ("on",)))
        self.resources(SubElement(configuration, "resources"), fencing)
        constraints = SubElement(configuration, "constraints")
        # Of a single resource, Pacemaker takes no colocation and does not survive an order.
        kinds = ("location", "colocation", "order", "order")[: 4 if len(self.ids) > 1 else 1]
        for number in range(dice.weighted(((30, 0), (35, 1), (20, 2), (15, 3)))):
            getattr(self, dice.pick(kinds))(constraints, f"con{number}")
        if dice.chance(15):
            defaults = SubElement(configuration, "rsc_defaults")
            pairs = [("resource-stickiness", dice.pick(("100", "1", "INFINITY")))]
            self.nvset(defaults, "meta_attributes", "rsc-defaults", pairs)
        return root

    def nvset(self, parent: Element, tag: str, identity: str, pairs: list[tuple[str, str]]) -> None:
        if pairs:
            owner = SubElement(parent, tag, {"id": identity})
            for name, value in pairs:
                SubElement(owner, "nvpair", {"id": f"{identity}-{name}", "name": name, "value": value})

    def maybe(self, percent: int, name: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
        return [(name, self.dice.pick(values))] if self.dice.chance(percent) else []

    def options(self, parent: Element, fencing: bool) -> None:
        pairs = [("stonith-enabled", "true" if fencing else "false")]
        pairs += self.maybe(10, "no-quorum-policy", ("ignore", "freeze", "demote"))
        pairs += self.maybe(5, "symmetric-cluster", ("false",))
        pairs += self.maybe(3, "maintenance-mode", ("true",))
        pairs += self.maybe(4, "stop-all-resources", ("true",))
        self.nvset(parent, "cluster_property_set", "options", pairs)

    def resources(self, parent: Element, fencing: bool) -> None:
        dice = self.dice
        kinds = ["bundle"] + [
            dice.weighted(((40, "primitive"), (30, "bundle"), (15, "clone"), (15, "promotable")))
            for _ in range(dice.number(0, 2))
        ]
        if dice.chance(40):
            kinds.reverse()
        for number, kind in enumerate(kinds, start=1):
            name = f"{kind[0]}{number}"
            self.ids.append(name)
            if kind == "bundle":
                self.bundle(parent, name, number)
            elif kind == "primitive":
                self.primitive(parent, name, promotable=False)
            else:
                self.clone(parent, name, promotable=kind == "promotable")
        if fencing:
            SubElement(parent, "primitive", {"id": "fencer", "class": "stonith", "type": FENCE_AGENT})

    def clone(self, parent: Element, name: str, *, promotable: bool) -> None:
        clone = SubElement(parent, "clone", {"id": name})
        pairs = [("promotable", "true")] if promotable else []
        self.nvset(clone, "meta_attributes", f"{name}-meta", pairs + self.maybe(50, "interleave", ("true",)))
        self.primitive(clone, f"{name}rsc", promotable=promotable)
        if promotable:
            self.promotables.append(name)

    def bundle(self, parent: Element, name: str, number: int) -> None:
        dice = self.dice
        bundle = SubElement(parent, "bundle", {"id": name})
        promoted = dice.chance(35)
        pairs = self.meta() + self.maybe(35, "interleave", ("true",))
        self.nvset(bundle, "meta_attributes", f"{name}-meta", pairs)
        container = {"image": f"example.com/{name}:latest"}
        replicas = dice.weighted(((25, 1), (45, 2), (30, 3)))
        if dice.chance(92):
            container["replicas"] = str(replicas)
        if promoted:
            container["promoted-max"] = dice.pick(("1", "1", "2"))
            self.promotables.append(name)
        addressed = dice.chance(60)
        if addressed and dice.chance(25):
            container["replicas-per-host"] = "2"
        container.update(self.maybe(15, "network", ("host", "bridge")))
        container.update(self.maybe(15, "options", ("--log-driver=none", "")))
        container.update(self.maybe(10, "run-command", ("/bin/run",)))
        SubElement(bundle, dice.weighted(((40, "docker"), (45, "podman"), (15, "rkt"))), container)
        self.network(bundle, name, number, addressed)
        if dice.chance(25):
            storage = SubElement(bundle, "storage")
            mapping = {"id": f"{name}-map", "target-dir": dice.pick(("/data", "/var/log")), "source-dir": "/srv"}
            if dice.chance(40):
                mapping["source-dir-root"] = mapping.pop("source-dir")
            mapping.update(self.maybe(50, "options", ("rw", "ro")))
            SubElement(storage, "storage-mapping", mapping)
        if promoted or dice.chance(85):
            self.primitive(bundle, f"{name}rsc", promotable=promoted)

    def network(self, bundle: Element, name: str, number: int, addressed: bool) -> None:
        given = dict(self.maybe(100 if not addressed else 15, "control-port", ("3122", "9999")))
        if self.dice.chance(3):
            given = {}
        if addressed:
            given["ip-range-start"] = f"10.0.{number}.{self.dice.pick(('10', '253', '254'))}"
            given.update(self.maybe(30, "host-netmask", ("24",)))
            given.update(self.maybe(20, "host-interface", ("eth0",)))
            given.update(self.maybe(15, "add-host", ("false", "true")))
        network = SubElement(bundle, "network", given)
        if self.dice.chance(35):
            port = {"id": f"{name}-port", "port": "80"}
            if self.dice.chance(40):
                port["internal-port"] = "8080"
            SubElement(network, "port-mapping", port)

    def meta(self) -> list[tuple[str, str]]:
        pairs = self.maybe(8, "resource-stickiness", ("100", "INFINITY", "0"))
        pairs += self.maybe(6, "target-role", ("Stopped", "Started", "Unpromoted"))
        pairs += self.maybe(5, "is-managed", ("false",))
        pairs += self.maybe(6, "priority", ("10", "-5"))
        pairs += self.maybe(6, "migration-threshold", ("1", "2"))
        pairs += self.maybe(4, "failure-timeout", ("60s", "1h"))
        pairs += self.maybe(4, "multiple-active", ("block", "stop_only", "stop_unexpected"))
        return pairs

    def primitive(self, parent: Element, name: str, *, promotable: bool) -> None:
        dice = self.dice
        given = {"id": name, "class": "ocf", "provider": "pacemaker", "type": "Stateful" if promotable else "Dummy"}
        element = SubElement(parent, "primitive", given)
        self.nvset(element, "instance_attributes", f"{name}-params", self.maybe(25, "fake", ("one", "two")))
        pairs = self.meta() if dice.chance(35) else []
        pairs += self.maybe(12, "notify", ("true",)) + self.maybe(12, "container-attribute-target", ("host",))
        self.nvset(element, "meta_attributes", f"{name}-meta", pairs)
        operations = Element("operations")
        wanted = [("10s", "")] if dice.chance(70) else []
        if promotable and dice.chance(70):
            wanted.append(("11s", "Promoted"))
        for interval, role in wanted:
            op = {"id": f"{name}-monitor-{interval}", "name": "monitor", "interval": interval}
            op.update({"role": role} if role else {})
            op.update(self.maybe(15, "on-fail", ("ignore", "block", "stop", "restart", "fence", "standby")))
            SubElement(operations, "op", op)
        if len(operations):
            element.append(operations)

    # --- constraints ------------------------------------------------------------------------------------

    def role(self, name: str) -> str:
        promotable = name in self.promotables and self.dice.chance(50)
        return self.dice.pick(("Promoted", "Unpromoted", "Started")) if promotable else ""

    def location(self, parent: Element, identity: str) -> None:
        name = self.dice.pick(self.ids)
        given = {"id": identity, "rsc": name, "node": self.dice.pick(self.nodes), "score": self.dice.pick(SCORES)}
        role = self.role(name)
        given.update({"role": role} if role else {})
        given.update(self.maybe(8, "resource-discovery", ("never", "exclusive")))
        SubElement(parent, "rsc_location", given)

    def colocation(self, parent: Element, identity: str) -> None:
        one, other = self.dice.some(self.ids, 2, 2)
        given = {"id": identity, "rsc": one, "with-rsc": other, "score": self.dice.pick(SCORES)}
        for side, name in (("rsc-role", one), ("with-rsc-role", other)):
            role = self.role(name)
            given.update({side: role} if role else {})
        SubElement(parent, "rsc_colocation", given)

    def order(self, parent: Element, identity: str) -> None:
        first, then = self.dice.some(self.ids, 2, 2)
        given = {"id": identity, "first": first, "then": then}
        for side, name in (("first-action", first), ("then-action", then)):
            tasks = ("start", "promote", "stop", "demote") if name in self.promotables else ("start", "stop")
            given.update(self.maybe(40, side, tasks))
        given.update(self.maybe(40, "kind", ("Mandatory", "Optional", "Serialize")))
        given.update(self.maybe(12, "symmetrical", ("false",)))
        SubElement(parent, "rsc_order", given)


# --- history ------------------------------------------------------------------------------------------


@dataclass
class _NodeRecord:
    """What is recorded about one node."""

    name: str
    state: str  # of _NODE_STATE, or "guest"
    histories: dict[str, Element] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    calls: int = 3


class _Teller:
    """Tells what happened to each resource, as a status section."""

    def __init__(self, dice: Dice, root: Element, work: WorkingSet) -> None:
        self.dice = dice
        self.work = work
        names = [node.get("uname", "") for node in root.iterfind("configuration/nodes/node")]
        calm = dice.chance(65)
        states = ((70, "online"), (10, "lost"), (10, "offline"), (10, "pending"))
        self.hosts = [_NodeRecord(n, "online" if calm else dice.weighted(states)) for n in names]
        self.alive = [host for host in self.hosts if host.state in ("online", "lost")]
        self.guests: list[_NodeRecord] = []
        self.untouched = dice.chance(12)

    def written(self) -> Element:
        for top in self.work.resources:
            if self.untouched or not self.alive:
                break
            if top.bundle is not None:
                for replica in top.bundle.replicas:
                    self.replica(replica)
            elif top.primitive is not None and not top.settings.fence_device:
                self.single(top)
            elif top.children:
                self.clone(top)
        status = Element("status")
        for record in (*self.hosts, *self.guests):
            status.append(self.node_state(record))
        return status

    # --- operations ---------------------------------------------------------------------------------------

    def op(
        self, record: _NodeRecord, rsc: Resource, task: str, rc: int = OK, *, interval_ms: int = 0, expected: int = OK
    ) -> None:
        """Record an operation of a resource on a node."""
        assert rsc.primitive is not None
        agent = rsc.primitive.agent
        name = rsc.id if rsc.settings.unique else rsc.primitive.id
        if name not in record.histories:
            kind = {"class": agent.standard, "type": agent.type, "provider": agent.provider}
            container = rsc.meta.get("container", "")
            kind.update({"container": container} if container else {})
            record.histories[name] = Element("lrm_resource", {"id": name, **kind})
        record.calls += 1
        key = f"{record.calls + 10}:5:{expected}:{UUID}"
        params = dict(attributes.params(self.work, rsc, None))
        if params.get("addr") == "#uname":
            params["addr"] = record.name
        timeout = 30_000 if rsc.settings.is_remote_node and interval_ms else 20_000
        given = {
            "operation_key": f"{name}_{task}_{interval_ms}",
            "operation": task,
            "crm_feature_set": "3.16.1",
            "transition-key": key,
            "transition-magic": f"0:{rc};{key}",
            "on_node": record.name,
            "call-id": str(record.calls),
            "rc-code": str(rc),
            "op-status": "0",
            "interval": str(interval_ms),
            "last-rc-change": str(NOW - 3600 + record.calls),
            "exec-time": "10",
            "queue-time": "0",
            "op-digest": op_digest(params, interval_ms, timeout),
        }
        failed = rc != expected
        slots = [f"{name}_last_0" if not interval_ms else f"{name}_{task}_{interval_ms}"]
        for slot in slots + ([f"{name}_last_failure_0"] if failed else []):
            for old in [e for e in record.histories[name] if e.get("id") == slot]:
                record.histories[name].remove(old)
            SubElement(record.histories[name], "lrm_rsc_op", {"id": slot, **given})
        if failed and self.dice.chance(80):
            base = name.split(":")[0]
            record.attributes[f"fail-count-{base}#{task}_{interval_ms}"] = self.dice.pick(("1", "2", "INFINITY"))
            record.attributes[f"last-failure-{base}#{task}_{interval_ms}"] = str(NOW - 3600 + record.calls)

    def absent(self, rsc: Resource | None, but: set[str]) -> None:
        """A resource was looked for everywhere else, and was not there."""
        for host in self.alive:
            if rsc is not None and host.name not in but and self.dice.chance(88):
                self.op(host, rsc, "monitor", NOT_RUNNING, expected=NOT_RUNNING)

    def active(self, record: _NodeRecord, rsc: Resource, *, promotable: bool = False) -> None:
        dice = self.dice
        self.op(record, rsc, "start")
        role = ""
        if promotable:
            if dice.chance(75):
                record.attributes[f"master-{rsc.primitive.id if rsc.primitive else rsc.id}"] = dice.pick(
                    ("10", "5", "100", "-INFINITY")
                )
            if dice.chance(40):
                self.op(record, rsc, "promote")
                role = "Promoted"
        expected = PROMOTED if role else OK
        ops = [op for op in rsc.primitive.ops if op.interval_ms] if rsc.primitive else []
        for op in ops:
            if op.attributes.get("role", "") == role and dice.chance(92):
                self.op(record, rsc, op.name, expected, interval_ms=op.interval_ms, expected=expected)
        if dice.chance(11):
            self.trouble(record, rsc, expected, ops[0].interval_ms if ops else 10_000)

    def trouble(self, record: _NodeRecord, rsc: Resource, expected: int, interval_ms: int) -> None:
        story = self.dice.weighted(((50, "monitor"), (20, "stop"), (15, "start"), (15, "gone")))
        if story == "monitor":
            self.op(record, rsc, "monitor", ERROR, interval_ms=interval_ms, expected=expected)
        elif story == "gone":
            self.op(record, rsc, "monitor", NOT_RUNNING, interval_ms=interval_ms, expected=expected)
        else:
            self.op(record, rsc, story, self.dice.pick((ERROR, ERROR, NOT_INSTALLED)))

    # --- stories --------------------------------------------------------------------------------------------

    def replica(self, replica: Replica) -> None:
        """One replica: wholly up (more often than not), only partly, or down."""
        dice = self.dice
        story = dice.weighted(((64, "up"), (16, "down"), (6, "container"), (6, "apart"), (4, "no child"), (4, "twice")))
        home = dice.pick(self.alive)
        other = dice.pick(self.alive)
        where = {home.name} if story != "down" else set()
        if story != "down":
            self.active(home, replica.container)
            if replica.ip is not None:
                self.active(home, replica.ip)
        if story == "twice" and other is not home:
            self.active(other, replica.container)
            where.add(other.name)
        self.absent(replica.container, where)
        self.absent(replica.ip, where)
        self.connection(replica, story, home, other)

    def connection(self, replica: Replica, story: str, home: _NodeRecord, other: _NodeRecord) -> None:
        remote, child = replica.remote, replica.child
        if remote is None or replica.node is None or child is None:
            return
        guest = _NodeRecord(replica.node.name, "guest")
        if story in ("down", "container"):
            if self.dice.chance(70):
                self.absent(remote, set())
        else:
            connected = other if story == "apart" else home
            self.active(connected, remote)
            self.absent(remote, {connected.name})
        promotable = child.parent is not None and child.parent.settings.promotable
        if story in ("up", "apart", "twice"):
            self.active(guest, child, promotable=promotable)
        elif story == "no child" and self.dice.chance(60):
            self.op(guest, child, "monitor", NOT_RUNNING, expected=NOT_RUNNING)
        if promotable and self.dice.chance(30) and child.primitive is not None:
            home.attributes[f"master-{child.primitive.id}"] = self.dice.pick(("10", "20"))
        if guest.histories or self.dice.chance(50):
            self.guests.append(guest)

    def single(self, rsc: Resource) -> None:
        home = self.dice.pick(self.alive) if self.dice.chance(65) else None
        if home is not None:
            self.active(home, rsc)
        self.absent(rsc, {home.name} if home else set())

    def clone(self, rsc: Resource) -> None:
        for host, instance in zip(self.alive, rsc.children, strict=False):
            if self.dice.chance(70):
                self.active(host, instance, promotable=rsc.settings.promotable)
            elif self.dice.chance(90):
                self.op(host, instance, "monitor", NOT_RUNNING, expected=NOT_RUNNING)

    def node_state(self, record: _NodeRecord) -> Element:
        given = {"id": record.name, "uname": record.name, "crm-debug-origin": "do_state_transition"}
        if record.state == "guest":
            given.update({"remote_node": "true", "in_ccm": "true", "node_fenced": "0"})
        else:
            in_ccm, crmd, join, expected = _NODE_STATE[record.state]
            given.update({"in_ccm": in_ccm, "crmd": crmd, "join": join, "expected": expected})
        element = Element("node_state", given)
        lrm = SubElement(element, "lrm", {"id": record.name})
        SubElement(lrm, "lrm_resources").extend(record.histories.values())
        if record.attributes:
            transient = SubElement(element, "transient_attributes", {"id": record.name})
            owner = SubElement(transient, "instance_attributes", {"id": f"status-{record.name}"})
            for number, (name, value) in enumerate(record.attributes.items()):
                identity = f"status-{record.name}-{number}"
                SubElement(owner, "nvpair", {"id": identity, "name": name, "value": value})
        return element
