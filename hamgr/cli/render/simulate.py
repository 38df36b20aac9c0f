"""What ``hamgr simulate`` prints for people: the four sections of crm_simulate -S, in its layout.

Whoever knows crm_simulate and crm_mon reads this without a manual. Pure text: the caller schedules and simulates.
"""

from __future__ import annotations

from hamgr.scheduler.actions.resource_actions import is_active
from hamgr.scheduler.constraints import health
from hamgr.scheduler.inputs.attributes import target_role
from hamgr.scheduler.inputs.op_records import masked_probe
from hamgr.scheduler.simulator import Simulation
from hamgr.scheduler.state.constants import PROMOTED, ROLE_NAMES, STARTED, STOPPED, UNKNOWN, UNPROMOTED, Variant
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.transition import GraphAction, SummaryLine, Transition
from hamgr.scheduler.unpack.nodes import name_key

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ACTION_WIDTH = 8
# What a resource is doing while an operation is pending.
_PENDING = {
    "start": "Starting",
    "stop": "Stopping",
    "promote": "Promoting",
    "demote": "Demoting",
    "migrate_to": "Migrating",
    "migrate_from": "Migrating",
}
# Exit codes of probes that could not look.
_PROBE_FAILURES = {2: "invalid parameter", 5: "not installed"}


def render(before: WorkingSet, transition: Transition, simulation: Simulation, after: WorkingSet) -> str:
    """All sections; `before` and `after` are the unpacked states around the simulated transition."""
    names = set(before.by_id) | {rsc.clone_name for rsc in before.by_id.values()}
    executed = (executed_line(action, names) for action in simulation.executed)
    for rsc in after.by_id.values():
        rsc.recorded.pending_task = ""  # the transition has waited for it
    sections = [
        ["Current cluster status:", *status_lines(before)],
        ["Transition Summary:", *bullets(summary_lines(transition.summary), 1)],
        ["Executing Cluster Transition:", *bullets(executed, 1)],
        ["Revised Cluster Status:", *status_lines(after)],
    ]
    if not simulation.complete:
        sections[2].append("  * The transition got stuck here: what follows is the state at this point")
    limits = list(_limits(before))
    return "\n\n".join("\n".join(lines) for lines in ([limits] if limits else []) + sections) + "\n"


def _limits(work: WorkingSet) -> Iterator[str]:
    """What keeps the cluster from acting, said before anything else."""
    if work.options.maintenance:
        yield from ("", "              *** Resource management is DISABLED ***")
        yield "  The cluster will not attempt to start, stop or recover services"
    leaves = [leaf for rsc in work.resources for leaf in rsc.leaves() if not leaf.orphan or leaf.role > STOPPED]
    disabled = sum(_disabled(leaf) for leaf in leaves)
    blocked = sum(leaf.blocked for leaf in leaves)
    if disabled or blocked:
        counts = f"{disabled} of {len(leaves)} resource instances DISABLED and {blocked} BLOCKED"
        yield f"{counts} from further action due to failure"


def bullets(lines: Iterable[str], depth: int) -> Iterator[str]:
    """Lines as items of a list that is nested `depth` deep."""
    return (f"{'  ' * depth}* {line}" for line in lines)


# --- status ---------------------------------------------------------------------------------------------


def status_lines(work: WorkingSet) -> list[str]:
    """Nodes and all resources, as crm_mon shows them."""
    lines = ["  * Node List:", *bullets(node_lines(work), 2)]
    shown = [rsc for rsc in work.resources if not (rsc.orphan and not _active(rsc)) and not _implicit(rsc)]
    if shown:
        lines += ["", "  * Full List of Resources:"]
        for rsc in shown:
            lines += _resource_lines(rsc, 2, work)
    return lines


def node_lines(work: WorkingSet) -> list[str]:
    """Nodes in a state of their own first, then the others by state."""
    special, plain = [], dict[str, list[str]]()
    for node in work.nodes:
        kind = "Guest" if _is_guest(node) else "Remote" if node.remote else ""
        state, color = _node_state(node), health.color(work, node)
        if state or color:
            state = state or ("online" if node.online else "OFFLINE")
            special.append(f"{kind}Node {node.name}: {state}{color and f' (health is {color.upper()})'}")
        elif node.online or kind != "Guest":
            plain.setdefault(kind + ("Online" if node.online else "OFFLINE"), []).append(node.name)
    order = ("Online", "OFFLINE", "RemoteOnline", "RemoteOFFLINE", "GuestOnline")
    return special + [f"{title}: [ {' '.join(plain[title])} ]" for title in order if title in plain]


def _is_guest(node: Node) -> bool:
    return node.guest or (node.remote_rsc is not None and node.remote_rsc.container is not None)


def _node_state(node: Node) -> str:
    if node.unclean:
        return f"UNCLEAN ({'online' if node.online else 'pending' if node.pending else 'offline'})"
    if node.pending:
        return "pending"
    if node.standby_onfail and node.online:
        return "standby (on-fail)"
    if node.standby:
        if not node.online:
            return "OFFLINE (standby)"
        return "standby (with active resources)" if node.running else "standby"
    if node.maintenance:
        return "maintenance" if node.online else "OFFLINE (maintenance)"
    return ""


def _implicit(rsc: Resource) -> bool:
    """A guest node's connection, which nobody has configured."""
    return rsc.settings.is_remote_node and rsc.container is not None and not rsc.orphan


def _active(rsc: Resource) -> bool:
    return is_active(rsc, whole=False)


def _resource_lines(rsc: Resource, depth: int, work: WorkingSet) -> list[str]:
    if rsc.variant == Variant.GROUP:
        return _group_lines(rsc, depth, work)
    if rsc.variant == Variant.CLONE:
        return _clone_lines(rsc, depth, work)
    if rsc.variant == Variant.BUNDLE:
        return _bundle_lines(rsc, depth, work)
    return list(bullets([_primitive_line(rsc, work)], depth))


def _group_lines(group: Resource, depth: int, work: WorkingSet) -> list[str]:
    lines = list(bullets([f"Resource Group: {group.id}{_collection_flags(group)}:"], depth))
    for member in group.children:
        lines += _resource_lines(member, depth + 1, work)
    return lines


def _collection_flags(rsc: Resource, *flags: str) -> str:
    told = [flag for flag in flags if flag]
    told += ["unmanaged"] * (not rsc.managed) + ["disabled"] * _disabled(rsc)
    return f" ({', '.join(told)})" if told else ""


def _disabled(rsc: Resource) -> bool:
    """Whether its target role keeps it from what it could be."""
    role = target_role(rsc)
    return role == STOPPED or (role == UNPROMOTED and rsc.top().settings.promotable)


def _clone_lines(clone: Resource, depth: int, work: WorkingSet) -> list[str]:
    """The header, instances that deserve a line of their own, then the others by role."""
    inner = clone.clone.config.member.id if clone.clone else ""
    flags = _collection_flags(
        clone, "promotable" if clone.settings.promotable else "", "unique" if clone.settings.unique else ""
    )
    lines = list(bullets([f"Clone Set: {clone.id} [{inner}]{flags}:"], depth))
    limited = " (target-role)" if clone.settings.promotable and _configured_role(clone) == UNPROMOTED else ""
    calm = ("Promoted", f"Unpromoted{limited}" if clone.settings.promotable else "Started")
    by_role: dict[str, list[str]] = {role: [] for role in calm}
    for instance in clone.children:
        if _in_full(clone, instance):
            lines += _resource_lines(instance, depth + 1, work)
        elif _active(instance):
            role = max(leaf.role for leaf in instance.leaves())
            by_role[calm[0] if role == PROMOTED else calm[1]].append(next(instance.leaves()).running_on[0].name)
    for role_name, nodes in by_role.items():
        if nodes:
            lines += bullets([f"{role_name}: [ {' '.join(sorted(nodes, key=name_key))} ]"], depth + 1)
    told = sum(len(nodes) for nodes in by_role.values())
    return lines + list(bullets(_stopped_lines(clone, told, work), depth + 1))


def _configured_role(clone: Resource) -> int:
    """A clone's target role, or else its first instance's."""
    return target_role(clone) or (target_role(clone.children[0]) if clone.children else UNKNOWN)


def _stopped_lines(clone: Resource, told: int, work: WorkingSet) -> list[str]:
    """Where an anonymous clone does not run, by why not; `told` instances have been shown as active."""
    if clone.settings.unique or clone.clone is None:
        return []
    if clone.clone.clone_max <= told:
        idle = [child.id for child in clone.children if not child.orphan and not _active(child)]
        return [f"Stopped: [ {' '.join(sorted(idle, key=name_key))} ]"] if idle else []
    state = "Stopped (disabled)" if _configured_role(clone) == STOPPED else "Stopped"
    by_state = dict[str, list[str]]()
    # Without symmetric-cluster no node is allowed before constraints have been looked at.
    nodes = clone.allowed or clone.known_on
    for node in work.nodes:
        if node in nodes and node not in clone.running_on:
            failed = _failed_probe(clone.clone.config.member.id, node, work)
            by_state.setdefault(f"Stopped ({failed})" if failed else state, []).append(node.name)
    return [f"{state}: [ {' '.join(names)} ]" for state, names in sorted(by_state.items())]


def _failed_probe(name: str, node: Node | None, work: WorkingSet) -> str:
    """Why a probe (on this node, if one is given) could not look for a resource; empty when none failed so."""
    for _, where, op in work.failed:
        if node in (None, where) and op.operation_key == f"{name}_monitor_0" and op.on_node and masked_probe(op):
            return _PROBE_FAILURES.get(op.rc, "unknown")
    return ""


def _in_full(clone: Resource, instance: Resource) -> bool:
    """Whether an instance is more than one of many."""
    if clone.settings.unique:
        return not clone.orphan or _active(instance)
    if instance.recorded.pending_task:
        return True
    if not _active(instance):
        return False
    leaves = list(instance.leaves())
    if any(leaf.orphan or leaf.failed or not leaf.managed or len(leaf.running_on) != 1 for leaf in leaves):
        return True
    nodes = {leaf.running_on[0] for leaf in leaves}
    return len(nodes) > 1 or any(node.unclean and not node.online for node in nodes)


def _bundle_lines(bundle: Resource, depth: int, work: WorkingSet) -> list[str]:
    if bundle.bundle is None:
        return []
    replicas = bundle.bundle.replicas
    several = " set" if len(replicas) > 1 else ""
    image = bundle.bundle.config.container.get("image", "")
    unique = " (unique)" if bundle.settings.unique else ""
    header = f"Container bundle{several}: {bundle.id} [{image}]{unique}{'' if bundle.managed else ' (unmanaged)'}:"
    lines = list(bullets([header], depth))
    for replica in replicas:
        name = (replica.remote or replica.container).id
        address = f" ({replica.address})" if replica.address else ""
        lines += bullets(
            [_primitive_line(replica.child or replica.container, work, name + address, replica.container)], depth + 1
        )
    return lines


def _primitive_line(rsc: Resource, work: WorkingSet, name: str = "", whereabouts: Resource | None = None) -> str:
    """A primitive's line; `whereabouts` is what runs on a cluster node for it (a bundle's container)."""
    agent = rsc.primitive.agent if rsc.primitive else None
    kind = ":".join(part for part in (agent.standard, agent.provider, agent.type) if part) if agent else ""
    nodes = (whereabouts or rsc).running_on
    node = None if len(nodes) > 1 else nodes[0] if nodes else rsc.recorded.pending_node or rsc.recorded.lock_node
    clone = rsc.top().clone
    failed = _failed_probe(clone.config.member.id if clone else rsc.id, node, work) if rsc.role == STOPPED else ""
    flags = list(_flags(rsc, node))
    words = [
        *(["ORPHANED"] if rsc.orphan else []),
        _role_text(rsc),
        *([node.name] if node is not None else []),
        *([f"({failed}) "] if failed else []),
        *([f"({', '.join(flags)})"] if flags else []),
        *(["[", *(each.name for each in nodes), "]"] if len(nodes) > 1 else []),
    ]
    return f"{name or _printed_id(rsc)}\t({kind}):\t {' '.join(words)}"


def _printed_id(rsc: Resource) -> str:
    return rsc.id if rsc.settings.unique or rsc.primitive is None else rsc.primitive.id


def _role_text(rsc: Resource) -> str:
    # An active instance of a promotable clone is Unpromoted at least.
    role = UNPROMOTED if rsc.role == STARTED and rsc.top().settings.promotable else rsc.role
    if rsc.failed:
        return f"FAILED {ROLE_NAMES[role]}" if role > UNPROMOTED else "FAILED"
    return _PENDING.get(rsc.recorded.pending_task) or ROLE_NAMES[max(role, STOPPED)]


def _flags(rsc: Resource, node: Node | None) -> Iterator[str]:
    if node is not None and node.unclean and not node.online:
        yield "UNCLEAN"
    if node is not None and node is rsc.recorded.lock_node:
        yield "LOCKED"
    if rsc.recorded.pending_task == "monitor":
        yield "Monitoring"
    if target_role(rsc) == STOPPED:
        yield "disabled"
    elif _disabled(rsc):
        yield f"target-role:{rsc.meta['target-role']}"
    if rsc.blocked:
        yield "blocked"
    elif not rsc.managed:
        yield "unmanaged"
    if rsc.recorded.failure_ignored:
        yield "failure ignored"


# --- summary and execution ------------------------------------------------------------------------------------


def summary_lines(summary: Sequence[SummaryLine]) -> list[str]:
    """The Transition Summary, columns aligned."""
    name_width = 5
    for line in summary:
        if len(line.resource) > name_width:
            name_width = len(line.resource) + 2
    detail_width = max((len(_detail(line)) for line in summary if not line.task), default=0)
    detail_width = max(detail_width, 5)
    return [_summary_line(line, name_width, detail_width) for line in summary]


def _summary_line(line: SummaryLine, name_width: int, detail_width: int) -> str:
    if line.task:
        return f"{line.task} {line.node} '{line.reason}'"
    verb = line.action.capitalize()
    text = f"{verb:<{ACTION_WIDTH}}   {line.resource:<{name_width}}   ( {_detail(line):>{detail_width}} )"
    if line.reason:
        text += f"  due to {line.reason}{' (blocked)' if line.blocked else ''}"
    elif line.blocked:
        text += "  blocked"
    return text


def _detail(line: SummaryLine) -> str:
    """Where, and for promotable resources in which role."""
    role, next_role = line.role, line.next_role
    source, dest = line.source or line.node, line.dest
    if not (source and dest):
        return " ".join(part for part in (role, next_role and f"-> {next_role}", source or dest) if part)
    if next_role:
        return f"{role} {source} -> {next_role} {dest}"
    return f"{source} -> {dest}{role and f' {role}'}"


def executed_line(action: GraphAction, known: set[str]) -> str:
    """One action of the simulated transition; `known` are the names of resources, those in histories included."""
    if action.kind == "pseudo":
        return f"Pseudo action:   {action.key}{f' on {action.node}' if action.task == 'stonith' else ''}"
    if action.task == "stonith":
        return f"Fencing {action.node} ({action.fence})"
    if action.kind == "crm":
        whose = f" for {action.history_id}" if action.resource else ""
        return f"Cluster action:  {action.task}{whose} on {action.node}"
    interval = f"={action.interval_ms}" if action.interval_ms else ""
    numbered = action.history_id not in known and action.instance_id in known
    name = action.instance_id if numbered else action.history_id or action.resource
    return f"Resource action: {name:<15} {action.task}{interval} on {action.node}"
