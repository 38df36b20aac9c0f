"""The text that ``hamgr simulate`` prints: laid out as crm_simulate -S does, so that it reads as people are used to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TextIO

from hamgr.cib.model import Cib
from hamgr.scheduler import Action, SummaryLine, Transition, simulator
from hamgr.scheduler.simulator import NodeView, ResourceView, StatusView


def write(
    out: TextIO,
    cib: Cib,
    now: datetime,
    transition: Transition,
    simulation: simulator.Simulation,
    revised: StatusView,
) -> None:
    """Print current status, summary, executed transition and revised status."""
    for warning in transition.warnings:
        print(f"warning: {warning}", file=out)
    _status(out, "Current cluster status", simulator.view(cib, now))
    print("\nTransition Summary:", file=out)
    for line in transition.summary:
        print(f"  * {summary_text(line)}", file=out)
    print("\nExecuting Cluster Transition:", file=out)
    for action in simulation.executed:
        print(f"  * {_action_text(action)}", file=out)
    print(file=out)
    _status(out, "Revised Cluster Status", revised)


def _status(out: TextIO, title: str, view: StatusView) -> None:
    print(f"{title}:\n  * Node List:", file=out)
    for line in _node_lines(view.nodes):
        print(f"    * {line}", file=out)
    print("\n  * Active Resources:", file=out)
    for resource, places in _by_resource(view.resources).items():
        print(f"    * {resource}: {', '.join(places)}", file=out)


def _node_lines(nodes: Iterable[NodeView]) -> list[str]:
    online, offline, lines = [], [], []
    for node in nodes:
        special = _special(node)
        if special:
            lines.append(f"Node {node.name}: {special}")
        elif node.online:
            online.append(node.name)
        else:
            offline.append(node.name)
    if online:
        lines.append(f"Online: [ {' '.join(online)} ]")
    if offline:
        lines.append(f"OFFLINE: [ {' '.join(offline)} ]")
    return lines


def _special(node: NodeView) -> str:
    if node.unclean:
        return f"UNCLEAN ({'online' if node.online else 'offline'})"
    if node.pending:
        return "pending"
    if node.standby and node.online:
        return "standby"
    if node.maintenance:
        return "maintenance" if node.online else "OFFLINE (maintenance)"
    return ""


def _by_resource(resources: Iterable[ResourceView]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for view in resources:
        found.setdefault(view.id, []).append(f"{view.role} {view.node}")
    return found


def summary_text(line: SummaryLine) -> str:
    """One line of the Transition Summary."""
    if line.task:
        return f"{line.task} {line.node} '{line.reason}'"
    blocked = " (blocked)" if line.blocked else ""
    due = f" due to {line.reason}" if line.reason else ""
    return f"{line.action.capitalize():<10} {line.resource:<20} ( {_places(line)} ){blocked}{due}"


def _places(line: SummaryLine) -> str:
    start = " ".join(part for part in (line.role, line.source or line.node) if part)
    end = " ".join(part for part in (line.next_role, line.dest) if part)
    if line.next_role and not line.dest:
        return f"{line.role} -> {line.next_role} {line.source}"
    return f"{start} -> {end}" if end else start


def _action_text(action: Action) -> str:
    if action.kind == "pseudo":
        return f"Pseudo action:   {action.key}"
    if action.kind == "crm":
        if action.task == "stonith":
            return f"Fencing {action.node} ({action.fence})"
        return f"Cluster action:  {action.task} for {action.resource or action.node} on {action.node}"
    interval = f"={action.interval_ms}" if action.interval_ms else ""
    return f"Resource action: {action.resource:<15} {action.task}{interval} on {action.node}"
