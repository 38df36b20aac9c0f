"""What a generated cluster consists of, before it is written: nodes, resources and how they nest."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.differential.drawing import Dice

FENCE_AGENT = "fence_xvm"


@dataclass
class PlannedPrimitive:
    """A primitive and what its surroundings make of it."""

    id: str
    fence_device: bool = False
    params: dict[str, str] = field(default_factory=dict)
    monitors: list[tuple[int, str]] = field(default_factory=list)  # (interval in ms, role or "")
    allow_migrate: bool = False
    remote: bool = False  # an ocf:pacemaker:remote connection, which makes a node of its id
    guest: str = ""  # the guest node that it makes
    template: str = ""  # where its agent is configured, if not with itself

    @property
    def only_on_members(self) -> bool:
        """Fence devices and what makes nodes do not run on nodes that connections make."""
        return self.fence_device or self.remote or bool(self.guest)


@dataclass
class PlannedResource:
    """A top-level resource: a primitive, or a group or clone with its members."""

    id: str
    members: list[PlannedPrimitive]
    group: str = ""
    clone: str = ""
    promotable: bool = False
    unique: bool = False
    clone_max: int | None = None
    node_max: int = 1

    @property
    def kind(self) -> str:
        return "clone" if self.clone else "group" if self.group else "primitive"


@dataclass
class PlannedNode:
    """A node and the state that it is found in."""

    name: str
    id: str
    state: str = "online"
    kind: str = "member"  # or remote, or guest


@dataclass
class Plan:
    """A whole cluster."""

    nodes: list[PlannedNode]
    resources: list[PlannedResource]
    fencing: bool
    tickets: list[str]
    utilization: bool
    unfencing: bool = False

    def references(self) -> list[str]:
        """Ids that constraints may name, the most usual ones first."""
        inner = [p.id for r in self.resources if r.group for p in r.members]
        return [r.id for r in self.resources] + inner

    def promotables(self) -> list[str]:
        return [r.id for r in self.resources if r.promotable]


NODE_STATES = (
    (66, "online"),
    (6, "offline"),
    (6, "lost"),
    (3, "process-lost"),
    (4, "pending"),
    (3, "shutting-down"),
    (3, "unseen"),
    (2, "banned"),
    (2, "down-expected-member"),
    (2, "terminate"),
    (3, "left-in-middle"),
)


def draw_plan(dice: Dice) -> Plan:
    count = dice.weighted(((25, 2), (40, 3), (15, 4), (8, 5), (7, 1)))
    named_by_id = dice.chance(30)
    calm = dice.chance(55)
    nodes = [
        PlannedNode(
            name=f"node{i}",
            id=f"node{i}" if named_by_id else str(i),
            state="online" if calm else dice.weighted(NODE_STATES),
        )
        for i in range(1, count + 1)
    ]
    resources = [
        _resource(dice, i, count) for i in range(1, dice.weighted(((18, 1), (28, 2), (25, 3), (15, 4), (9, 6))) + 1)
    ]
    fencing = dice.chance(60)
    if (fencing and dice.chance(88)) or (not fencing and dice.chance(10)):
        device = PlannedPrimitive("fencer", fence_device=True)
        if dice.chance(40):
            device.monitors.append((60_000, ""))
        fence = PlannedResource("fencer", [device])
        if dice.chance(8):
            fence = PlannedResource("fencers", [device], clone="fencers")
        resources.insert(dice.pick((len(resources), 0)), fence)
    tickets = ["ticketA"] if dice.chance(9) else []
    return Plan(nodes, resources, fencing, tickets, utilization=dice.chance(9))


def _resource(dice: Dice, number: int, nodes: int) -> PlannedResource:
    kind = dice.weighted(
        (
            (40, "primitive"),
            (15, "group"),
            (16, "clone"),
            (17, "promotable"),
            (6, "clone of group"),
            (3, "promotable group"),
        )
    )
    if kind == "primitive":
        name = f"rsc{number}"
        return PlannedResource(name, [_primitive(dice, name, kind)])
    grouped = "group" in kind
    size = dice.weighted(((50, 2), (30, 3), (15, 1))) if grouped else 1
    members = [_primitive(dice, f"rsc{number}{'abc'[i] if grouped else ''}", kind) for i in range(size)]
    group = f"grp{number}" if grouped else ""
    if kind == "group":
        return PlannedResource(group, members, group=group)
    clone = PlannedResource(
        f"clone{number}", members, group=group, clone=f"clone{number}", promotable="promotable" in kind
    )
    clone.unique = dice.chance(14)
    if dice.chance(30):
        clone.clone_max = dice.pick((2, 1, 3, nodes, nodes - 1, nodes + 1, 0)) if dice.chance(92) else 5
    if clone.unique and dice.chance(50):
        clone.node_max = dice.number(2, 3)
    return clone


def _primitive(dice: Dice, name: str, kind: str) -> PlannedPrimitive:
    primitive = PlannedPrimitive(name)
    if dice.chance(30):
        primitive.params["fake"] = dice.pick(("one", "two"))
    if dice.chance(65):
        primitive.monitors.append((dice.pick((10_000, 10_000, 5_000)), ""))
    if "promotable" in kind:
        if dice.chance(60):
            primitive.monitors.append((11_000, "Promoted"))
        if dice.chance(25):
            primitive.monitors.append((12_000, "Unpromoted"))
    if dice.chance(5):
        primitive.monitors.append((20_000, "Stopped"))
    primitive.allow_migrate = dice.chance(14)
    return primitive


def add_remotes(plan: Plan, dice: Dice) -> None:
    """Give a cluster what others do without: remote and guest nodes, a resource template, unfencing."""
    for number in range(1, dice.weighted(((25, 0), (45, 1), (30, 2))) + 1):
        name = f"remote{number}"
        connection = PlannedPrimitive(name, remote=True, monitors=[(60_000, "")] if dice.chance(70) else [])
        plan.resources.append(PlannedResource(name, [connection]))
        plan.nodes.append(PlannedNode(name, name, kind="remote"))
    for number in range(1, dice.weighted(((45, 0), (40, 1), (15, 2))) + 1):
        machine = PlannedPrimitive(f"vm{number}", guest=f"guest{number}", allow_migrate=dice.chance(40))
        if dice.chance(60):
            machine.monitors.append((10_000, ""))
        plan.resources.insert(0, PlannedResource(machine.id, [machine]))
        plan.nodes.append(PlannedNode(machine.guest, machine.guest, kind="guest"))
    if dice.chance(30):
        for resource in plan.resources:
            for member in resource.members:
                if not member.only_on_members and dice.chance(60):
                    member.template = "common"
    plan.unfencing = plan.fencing and dice.chance(25)
