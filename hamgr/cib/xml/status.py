"""The status section of a CIB: the state of each node, what was done there, and tickets."""

from __future__ import annotations

from hamgr.cib.booleans import is_true
from hamgr.cib.model import NodeState, OpRecord, ResourceHistory, Ticket
from hamgr.cib.xml.elements import Element
from hamgr.cib.xml.values import Agents, integer, nvsets, required


def node_state(element: Element, agents: Agents) -> NodeState:
    """What is recorded about a node, with the histories of its resources."""
    in_ccm = element.get("in_ccm")
    attributes: dict[str, str] = {}
    for nvset in nvsets(element.find("transient_attributes"), "instance_attributes"):
        attributes.update(nvset.pairs)
    return NodeState(
        name=element.get("uname", ""),
        id=element.get("id", ""),
        in_ccm=None if in_ccm is None else is_true(in_ccm),
        crmd=element.get("crmd", "offline") == "online",
        join=element.get("join", ""),
        expected=element.get("expected", ""),
        shutdown=element.get("shutdown", ""),
        remote_node=is_true(element.get("remote_node")),
        node_fenced=element.get("node_fenced", ""),
        node_in_maintenance=element.get("node_in_maintenance", ""),
        attributes=attributes,
        resources=tuple(_history(one, agents) for one in element.iterfind("lrm/lrm_resources/lrm_resource")),
    )


def _history(element: Element, agents: Agents) -> ResourceHistory:
    return ResourceHistory(
        id=required(element, "id"),
        agent=agents.agent(element.get("class", ""), element.get("type", ""), element.get("provider", "")),
        ops=tuple(map(_op_record, element.iterfind("lrm_rsc_op"))),
        container=element.get("container", ""),
        shutdown_lock=integer(element.get("shutdown-lock")),
    )


def _op_record(element: Element) -> OpRecord:
    get = element.attrib.get
    return OpRecord(
        operation=get("operation", ""),
        id=get("id", ""),
        operation_key=get("operation_key", ""),
        interval_ms=integer(get("interval")),
        call_id=integer(get("call-id"), -1),
        rc=integer(get("rc-code")),
        op_status=integer(get("op-status")),
        transition_key=get("transition-key", ""),
        transition_magic=get("transition-magic", ""),
        last_rc_change=integer(get("last-rc-change")),
        exec_time=integer(get("exec-time")),
        queue_time=integer(get("queue-time")),
        op_digest=get("op-digest", ""),
        op_restart_digest=get("op-restart-digest", ""),
        op_force_restart=get("op-force-restart"),
        op_secure_digest=get("op-secure-digest", ""),
        op_secure_params=get("op-secure-params", ""),
        on_node=get("on_node", ""),
        exit_reason=get("exit-reason", ""),
        migrate_source=get("migrate_source", ""),
        migrate_target=get("migrate_target", ""),
        crm_feature_set=get("crm_feature_set", ""),
    )


def ticket(element: Element) -> Ticket:
    """A ticket's state as its daemon has left it."""
    return Ticket(
        id=required(element, "id"),
        granted=is_true(element.get("granted")),
        standby=is_true(element.get("standby")),
        last_granted=integer(element.get("last-granted"), -1),
        attributes={k: v for k, v in element.attrib.items() if k not in ("id", "granted", "standby", "last-granted")},
    )
