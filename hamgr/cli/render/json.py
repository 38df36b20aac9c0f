"""The answer of ``hamgr simulate`` as JSON, for programs: summary, graph, and the cluster's state afterwards."""

from __future__ import annotations

from hamgr.cli.json_text import dumps

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any

    from hamgr.scheduler.simulator import NodeView, StatusView
    from hamgr.scheduler.transition import GraphAction, SummaryLine, Transition


def render(transition: Transition, revised: StatusView) -> str:
    """What ``--output json`` prints."""
    return dumps(plain(transition, revised)) + "\n"


def plain(transition: Transition, revised: StatusView) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "actions": [_line(line) for line in transition.summary],
        "graph": {"actions": [_action(action) for action in transition.actions], "edges": transition.edges},
        "revised": {
            "nodes": [_node(node) for node in revised.nodes],
            "resources": [{"id": r.id, "role": r.role, "node": r.node} for r in revised.resources],
        },
        "warnings": transition.warnings,
    }


def _line(line: SummaryLine) -> dict[str, Any]:
    pairs = (
        ("action", line.action),
        ("task", line.task),
        ("resource", line.resource),
        ("role", line.role),
        ("next-role", line.next_role),
        ("source", line.source),
        ("dest", line.dest),
        ("node", line.node),
        ("reason", line.reason),
    )
    item: dict[str, Any] = {name: value for name, value in pairs if value}
    if line.blocked:
        item["blocked"] = True
    return item


def _action(action: GraphAction) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": action.id, "key": action.task if action.kind == "crm" else action.key}
    if action.node and action.kind != "pseudo":
        entry["node"] = action.node
    if action.kind == "pseudo":
        entry["pseudo"] = True
    if action.fence:
        entry["fence"] = action.fence
    return entry


def _node(node: NodeView) -> dict[str, Any]:
    return {
        "name": node.name,
        "online": node.online,
        "standby": node.standby,
        "maintenance": node.maintenance,
        "pending": node.pending,
        "unclean": node.unclean,
    }
