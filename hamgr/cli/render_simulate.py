"""What ``hamgr simulate`` prints for people: the four sections of crm_simulate -S, in its layout.

Whoever knows crm_simulate and crm_mon reads this without a manual. Pure text: the caller schedules and simulates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hamgr.scheduler.simulator import Simulation
from hamgr.scheduler.state import PROMOTED, ROLE_NAMES, STARTED, STOPPED, UNPROMOTED, NodeRt, Rsc, Variant, Work
from hamgr.scheduler.transition import Action, SummaryLine, Transition

ACTION_WIDTH = 8


def render(before: Work, transition: Transition, simulation: Simulation, after: Work) -> str:
    """All sections; `before` and `after` are the unpacked states around the simulated transition."""
    names = {state.name: {history.id for history in state.resources} for state in before.cib.node_states}
    executed = (executed_line(action, names.get(action.node, set())) for action in simulation.executed)
    sections = [
        ["Current cluster status:", *status_lines(before)],
        ["Transition Summary:", *bullets(summary_lines(transition.summary), 1)],
        ["Executing Cluster Transition:", *bullets(executed, 1)],
        ["Revised Cluster Status:", *status_lines(after)],
    ]
    if not simulation.complete:
        sections[2].append("  * The transition got stuck here: what follows is the state at this point")
    limits = _limits(before)
    text = "\n\n".join("\n".join(lines) for lines in sections) + "\n"
    return f"{limits}\n{text}" if limits else text


def _limits(work: Work) -> str:
    leaves = [leaf for rsc in work.resources for leaf in rsc.leaves()]
    disabled = sum(_disabled(leaf) for leaf in leaves)
    blocked = sum(leaf.blocked for leaf in leaves)
    if not disabled and not blocked:
        return ""
    counts = f"{disabled} of {len(leaves)} resource instances DISABLED and {blocked} BLOCKED"
    return f"{counts} from further action due to failure"


def bullets(lines: Iterable[str], depth: int) -> Iterator[str]:
    """Lines as items of a list that is nested `depth` deep."""
    return (f"{'  ' * depth}* {line}" for line in lines)


# --- status ---------------------------------------------------------------------------------------------


def status_lines(work: Work) -> list[str]:
    """Nodes and all resources, as crm_mon shows them."""
    lines = ["  * Node List:", *bullets(node_lines(work), 2)]
    shown = [rsc for rsc in work.resources if not (rsc.orphan and not _active(rsc)) and not _implicit(rsc)]
    if shown:
        lines += ["", "  * Full List of Resources:"]
        for rsc in shown:
            lines += _resource_lines(rsc, 2, work)
    return lines


def node_lines(work: Work) -> list[str]:
    """Nodes in a state of their own first, then the others by state."""
    special, plain = [], dict[str, list[str]]()
    for node in work.nodes:
        kind = "Guest" if _is_guest(node) else "Remote" if node.remote else ""
        state = _node_state(node)
        if state:
            special.append(f"{kind}Node {node.name}: {state}")
        elif node.online or kind != "Guest":
            plain.setdefault(kind + ("Online" if node.online else "OFFLINE"), []).append(node.name)
    order = ("Online", "OFFLINE", "RemoteOnline", "RemoteOFFLINE", "GuestOnline")
    return special + [f"{title}: [ {' '.join(plain[title])} ]" for title in order if title in plain]


def _is_guest(node: NodeRt) -> bool:
    return node.guest or (node.remote_rsc is not None and node.remote_rsc.container is not None)


def _node_state(node: NodeRt) -> str:
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


def _implicit(rsc: Rsc) -> bool:
    """A guest node's connection, which nobody has configured."""
    return rsc.is_remote_node and rsc.container is not None


def _active(rsc: Rsc) -> bool:
    return any(leaf.running_on for leaf in rsc.leaves())


def _resource_lines(rsc: Rsc, depth: int, work: Work) -> list[str]:
    if rsc.variant == Variant.GROUP:
        return _group_lines(rsc, depth, work)
    if rsc.variant == Variant.CLONE:
        return _clone_lines(rsc, depth, work)
    if rsc.variant == Variant.BUNDLE:
        return _bundle_lines(rsc, depth)
    return list(bullets([_primitive_line(rsc)], depth))


def _group_lines(group: Rsc, depth: int, work: Work) -> list[str]:
    lines = list(bullets([f"Resource Group: {group.id}{_collection_flags(group)}:"], depth))
    for member in group.children:
        lines += _resource_lines(member, depth + 1, work)
    return lines


def _collection_flags(rsc: Rsc) -> str:
    unmanaged = "" if rsc.managed else " (unmanaged)"
    return unmanaged + (" (disabled)" if _disabled(rsc) else "")


def _disabled(rsc: Rsc) -> bool:
    return rsc.meta.get("target-role", "").lower() == "stopped"


def _clone_lines(clone: Rsc, depth: int, work: Work) -> list[str]:
    """The header, instances that deserve a line of their own, then the others by role."""
    inner = clone.clone.config.member.id if clone.clone else ""
    flags = (" (promotable)" if clone.promotable else "") + (" (unique)" if clone.unique else "")
    lines = list(bullets([f"Clone Set: {clone.id} [{inner}]{flags}{_collection_flags(clone)}:"], depth))
    by_role: dict[str, list[str]] = {"Promoted": [], "Unpromoted" if clone.promotable else "Started": []}
    calm = list(by_role)
    for instance in clone.children:
        if _in_full(clone, instance):
            lines += _resource_lines(instance, depth + 1, work)
        elif _active(instance):
            role = max(leaf.role for leaf in instance.leaves())
            by_role[calm[0] if role == PROMOTED else calm[1]].append(next(instance.leaves()).running_on[0].name)
    for role_name, nodes in by_role.items():
        if nodes:
            lines += bullets([f"{role_name}: [ {' '.join(sorted(nodes))} ]"], depth + 1)
    return lines + list(bullets(_stopped_line(clone, work), depth + 1))


def _stopped_line(clone: Rsc, work: Work) -> list[str]:
    """Where an anonymous clone with idle instances does not run."""
    if clone.unique or not any(not _active(child) and not child.orphan for child in clone.children):
        return []
    busy = {node for leaf in clone.leaves() for node in leaf.running_on}
    idle = sorted(node.name for node in work.nodes if node in clone.allowed and node not in busy)
    return [f"Stopped{' (disabled)' if _disabled(clone) else ''}: [ {' '.join(idle)} ]"] if idle else []


def _in_full(clone: Rsc, instance: Rsc) -> bool:
    """Whether an instance is more than one of many."""
    leaves = list(instance.leaves())
    if clone.unique:
        return not instance.orphan or _active(instance)
    if not _active(instance):
        return False
    if any(leaf.orphan or leaf.failed or not leaf.managed or len(leaf.running_on) != 1 for leaf in leaves):
        return True
    nodes = {leaf.running_on[0] for leaf in leaves}
    return len(nodes) > 1 or any(node.unclean and not node.online for node in nodes)


def _bundle_lines(bundle: Rsc, depth: int) -> list[str]:
    if bundle.bundle is None:
        return []
    replicas = bundle.bundle.replicas
    several = " set" if len(replicas) > 1 else ""
    image = bundle.bundle.config.container.get("image", "")
    unique = " (unique)" if bundle.unique else ""
    header = f"Container bundle{several}: {bundle.id} [{image}]{unique}{'' if bundle.managed else ' (unmanaged)'}:"
    lines = list(bullets([header], depth))
    for replica in replicas:
        name = (replica.remote or replica.container).id
        address = f" ({replica.address})" if replica.address else ""
        lines += bullets(
            [_primitive_line(replica.child or replica.container, name + address, replica.container)], depth + 1
        )
    return lines


def _primitive_line(rsc: Rsc, name: str = "", whereabouts: Rsc | None = None) -> str:
    """A primitive's line; `whereabouts` is what runs on a cluster node for it (a bundle's container)."""
    agent = rsc.primitive.agent if rsc.primitive else None
    kind = ":".join(part for part in (agent.standard, agent.provider, agent.type) if part) if agent else ""
    nodes = (whereabouts or rsc).running_on
    state = (" ORPHANED" if rsc.orphan else "") + f" {_role_text(rsc)}"
    names = [node.name for node in nodes]
    where = f" {names[0]}" if len(names) == 1 else f" [ {' '.join(names)} ]" if names else ""
    flags = list(_flags(rsc, nodes))
    told = f" ({', '.join(flags)})" if flags else ""
    return f"{name or _printed_id(rsc)}\t({kind}):\t{state}{where}{told}"


def _printed_id(rsc: Rsc) -> str:
    return rsc.id if rsc.unique or rsc.primitive is None else rsc.primitive.id


def _role_text(rsc: Rsc) -> str:
    # An active instance of a promotable clone is Unpromoted at least.
    role = UNPROMOTED if rsc.role == STARTED and rsc.top().promotable else rsc.role
    if rsc.failed:
        return f"FAILED {ROLE_NAMES[role]}" if role > UNPROMOTED else "FAILED"
    return ROLE_NAMES[role] if rsc.running_on else ROLE_NAMES[STOPPED]


def _flags(rsc: Rsc, nodes: Sequence[NodeRt]) -> Iterator[str]:
    if len(nodes) == 1 and nodes[0].unclean and not nodes[0].online:
        yield "UNCLEAN"
    if _disabled(rsc):
        yield "disabled"
    elif rsc.top().promotable and rsc.meta.get("target-role", "").lower() in ("unpromoted", "slave"):
        yield "target-role:Unpromoted"
    if rsc.blocked:
        yield "blocked"
    elif not rsc.managed:
        yield "unmanaged"
    if rsc.failure_ignored:
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
    source, dest = line.source or line.node, line.dest
    if line.next_role and line.role and line.next_role != line.role and line.action in ("promote", "demote"):
        return f"{line.role} -> {line.next_role} {dest or source}"
    start = " ".join(part for part in (line.role, source) if part)
    if not dest or not source:
        return " ".join(part for part in (line.next_role or line.role, dest or source) if part)
    end = " ".join(part for part in (line.next_role or line.role, dest) if part)
    return f"{start} -> {end}" if source != dest else start


def executed_line(action: Action, recorded: set[str]) -> str:
    """One action of the simulated transition; `recorded` are the names in the histories of its node."""
    if action.kind == "pseudo":
        return f"Pseudo action:   {action.key}"
    if action.task == "stonith":
        return f"Fencing {action.node} ({action.fence})"
    if action.kind == "crm":
        whose = f" for {action.resource}" if action.resource else ""
        return f"Cluster action:  {action.task}{whose} on {action.node}"
    interval = f"={action.interval_ms}" if action.interval_ms else ""
    numbered = action.history_id not in recorded and action.instance_id in recorded
    name = action.instance_id if numbered else action.history_id or action.resource
    return f"Resource action: {name:<15} {action.task}{interval} on {action.node}"
