"""Why a resource goes where it goes, and not elsewhere: put together from a run's reasons and working state.

Codes with data, as all reasons are; what people read is made of it at the edge (`hamgr.cli.render.why`).
"""

from __future__ import annotations

from hamgr.cib.records import dataclass
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.inputs.attributes import target_role
from hamgr.scheduler.output import graph, summary
from hamgr.scheduler.state.constants import ROLE_NAMES, STARTED, STOPPED, UNKNOWN, UNPROMOTED, Variant
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.transition import Reason, SummaryLine

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

# Reasons that are steps of a score, and among them those that a collection shares with all that is in it.
_BANS = frozenset(
    {
        "clone-max",
        "failed-stop",
        "fatal-error",
        "hard-error",
        "masked-probe-failure",
        "migration-threshold",
        "not-managed",
        "on-fail-migrate",
        "orphan",
        "shutdown-lock",
        "ticket",
        "utilization",
    }
)
_STEPS = _BANS | {
    "clone-node-max",
    "location",
    "promotion-preference",
    "stickiness",
    "to-be-stopped",
    "with-dependent",
    "with-primary",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that a resource could be on: its score, what made it, and what keeps the node from getting resources."""

    node: str
    score: int
    chosen: bool
    unfit: str  # offline, unclean, shutting-down, standby, maintenance, pending, unlisted, or empty: nothing
    steps: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """What is decided about a primitive (or an instance of one), and why."""

    resource: str
    within: tuple[str, ...]  # the collections that it is in, innermost first
    role: str
    nodes: tuple[str, ...]  # where it is active
    next_role: str
    next_node: str  # empty: nowhere
    changes: tuple[SummaryLine, ...]
    circumstances: tuple[Reason, ...]
    candidates: tuple[Candidate, ...]  # best first
    promotion_score: int | None


def accounts(work: WorkingSet, name: str) -> tuple[Account, ...]:
    """An account for each primitive that ``name`` is, or that is in the collection of that name; empty: unknown.

    ``work`` is the state after `engine.run`, with ``explain`` for the steps of scores. An instance's name may be given
    with or without its number.
    """
    return _accounts(work, lambda leaf: name in _names(leaf) and not (leaf.orphan and not leaf.running_on))


def accounts_of(work: WorkingSet, leaves: Container[str]) -> dict[str, Account]:
    """An account for each primitive of these names, by name. ``work`` as for `accounts`."""
    return {account.resource: account for account in _accounts(work, lambda leaf: leaf.id in leaves)}


def _accounts(work: WorkingSet, wanted: Callable[[Resource], bool]) -> tuple[Account, ...]:
    graph.build(work)
    changes: dict[str, list[SummaryLine]] = {}
    for line in summary.lines(work):
        changes.setdefault(line.resource, []).append(line)
    reasons: dict[str, list[tuple[int, Reason]]] = {}
    for number, reason in enumerate(work.reasons):
        reasons.setdefault(reason.resource, []).append((number, reason))
    return tuple(
        _account(work, leaf, tuple(changes.get(leaf.id, ())), _about(leaf, reasons))
        for top in work.resources
        for leaf in top.leaves()
        if wanted(leaf)
    )


def _about(leaf: Resource, reasons: Mapping[str, list[tuple[int, Reason]]]) -> list[Reason]:
    """The reasons that name a primitive, what it is in, or no resource at all, in the order in which they were left."""
    names = {"", leaf.id, *(part.id for part in _around(leaf))}
    return [reason for _, reason in sorted((entry for name in names for entry in reasons.get(name, ())), key=_number)]


def _number(entry: tuple[int, Reason]) -> int:
    return entry[0]


def _names(leaf: Resource) -> set[str]:
    """What a primitive answers to: its own name and those of what it is in, with the instance's number or without."""
    full = {leaf.id, *(part.id for part in _around(leaf))}
    return full | {name.partition(":")[0] for name in full}


def _around(rsc: Resource) -> Iterator[Resource]:
    while rsc.parent is not None:
        rsc = rsc.parent
        yield rsc


def _account(work: WorkingSet, rsc: Resource, changes: tuple[SummaryLine, ...], reasons: list[Reason]) -> Account:
    role = UNPROMOTED if rsc.role == STARTED and rsc.top().settings.promotable else rsc.role
    around = tuple(_around(rsc))
    promotable = rsc.top().settings.promotable and rsc.assigned_to is not None
    return Account(
        resource=rsc.id,
        within=tuple(part.id for part in around),
        role=ROLE_NAMES[max(role, STOPPED)],
        nodes=tuple(node.name for node in rsc.running_on),
        next_role=ROLE_NAMES[max(rsc.next_role, STOPPED) if rsc.assigned_to else STOPPED],
        next_node=rsc.assigned_to.name if rsc.assigned_to else "",
        changes=changes,
        circumstances=tuple(_circumstances(work, rsc, around, reasons)),
        candidates=tuple(_candidates(work, rsc, around, reasons)),
        promotion_score=_instance(rsc).placing.sort_index if promotable else None,
    )


def _instance(rsc: Resource) -> Resource:
    """The part of a clone that a resource is, or is in."""
    while rsc.parent is not None and rsc.parent.variant != Variant.CLONE:
        rsc = rsc.parent
    return rsc


# --- what holds for it as a whole -----------------------------------------------------------------------


def _circumstances(
    work: WorkingSet, rsc: Resource, around: tuple[Resource, ...], reasons: list[Reason]
) -> Iterator[Reason]:
    options = work.options
    if rsc.orphan:
        yield Reason("unconfigured", rsc.id)
    yield from _held(work, rsc)
    if options.stop_all:
        yield Reason("stop-all-resources", rsc.id)
    wanted = target_role(rsc)
    if wanted != UNKNOWN:
        yield Reason("target-role", rsc.id, data={"role": ROLE_NAMES[wanted]})
    if not work.quorum and options.quorum_policy != "ignore":
        yield Reason("no-quorum", rsc.id, data={"policy": options.quorum_policy})
    if rsc.recorded.pending_task and rsc.recorded.pending_node is not None:
        yield Reason("pending", rsc.id, rsc.recorded.pending_node.name, {"operation": rsc.recorded.pending_task})
    family = {rsc.id, *(part.id for part in around)}
    for reason in reasons:
        if reason.resource in family and reason.code in ("failed", "multiply-active", "ticket", "no-quorum-demote"):
            if reason.code != "ticket" or "ticket" in reason.data:
                yield reason
        elif reason.code == "unclean" and any(node.name == reason.node for node in rsc.running_on):
            yield reason
    if rsc.recorded.lock_node is not None:
        yield Reason("locked", rsc.id, rsc.recorded.lock_node.name)


def _held(work: WorkingSet, rsc: Resource) -> Iterator[Reason]:
    """Why the cluster leaves it alone, if it does."""
    if rsc.blocked:
        yield Reason("blocked", rsc.id)
    elif work.options.maintenance:
        yield Reason("maintenance-mode", rsc.id)
    elif rsc.maintenance:
        yield Reason("node-maintenance", rsc.id)
    elif work.options.fencing and not work.have_stonith_resource:
        yield Reason("no-fence-device", rsc.id)
    elif not rsc.managed:
        yield Reason("unmanaged", rsc.id)


# --- node by node -----------------------------------------------------------------------------------------


def _candidates(
    work: WorkingSet, rsc: Resource, around: tuple[Resource, ...], reasons: list[Reason]
) -> list[Candidate]:
    steps: dict[str, list[Reason]] = {node.name: [] for node in work.nodes}
    shared = {part.id for part in around}
    for reason in reasons:
        own = reason.resource == rsc.id and reason.code in _STEPS
        if (own or (reason.resource in shared and reason.code in _BANS)) and "score" in reason.data:
            for name in [reason.node] if reason.node else list(steps):
                # An instance that was tried on its node, and then with the others, has been through its steps twice.
                if name in steps and (step := _named(work, reason)) not in steps[name]:
                    steps[name].append(step)
    found = [
        Candidate(
            node.name,
            rsc.allowed.get(node, -INFINITY),
            node is rsc.assigned_to,
            _unfit(node) or ("" if node in rsc.allowed else "unlisted"),
            tuple(steps[node.name]),
        )
        for node in work.nodes
        # A bundle's containers are nodes for what is in the bundle alone, which can run nowhere else.
        if node in rsc.allowed or not (work.options.symmetric or node.bundle)
    ]
    return sorted(found, key=lambda one: (not one.chosen, bool(one.unfit), -one.score))


def _named(work: WorkingSet, reason: Reason) -> Reason:
    """A location that no constraint but a node's health has made goes by that name."""
    if reason.code == "location" and reason.data.get("constraint") == work.options.health_strategy:
        return Reason("health", reason.resource, reason.node, reason.data)
    return reason


def _unfit(node: Node) -> str:
    if node.unclean:
        return "unclean"
    if not node.online:
        return "offline"
    if node.shutdown:
        return "shutting-down"
    if node.pending:
        return "pending"
    if node.standby:
        return "standby"
    return "maintenance" if node.maintenance else ""
