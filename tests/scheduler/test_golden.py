"""Golden cases: for each feature a small cluster, and Pacemaker's answer to it.

The answers were checked against crm_simulate 2.1.5; where that is installed, they are checked again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hamgr.cib.digest import digest
from hamgr.cib.model import Cib, OpRecord
from hamgr.cib.xml.document import load_xml
from hamgr.scheduler import schedule
from tests.scheduler.cibs import NODES, Case, clone, fence_device, group, primitive, xml

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MONITOR = "monitor,10s"


def located(name: str, rsc: str, node: str, score: str) -> str:
    return f'<rsc_location id="{name}" rsc="{rsc}" node="{node}" score="{score}"/>'


def with_(name: str, rsc: str, other: str, score: str = "INFINITY") -> str:
    return f'<rsc_colocation id="{name}" rsc="{rsc}" with-rsc="{other}" score="{score}"/>'


def order(name: str, first: str, then: str, extra: str = "") -> str:
    return f'<rsc_order id="{name}" first="{first}" then="{then}" {extra}/>'


CASES = [
    Case("start", primitive("A"), {"start A n1"}),
    Case("spread", primitive("A") + primitive("B"), {"start A n1", "start B n2"}),
    Case("stay", primitive("A"), set(), active={"A": "n2"}),
    Case("location", primitive("A"), {"start A n3"}, located("l", "A", "n3", "10")),
    Case("location-moves", primitive("A"), {"move A n1->n3"}, located("l", "A", "n3", "10"), active={"A": "n1"}),
    Case(
        "stickiness",
        primitive("A", "resource-stickiness=100"),
        set(),
        located("l", "A", "n3", "10"),
        active={"A": "n1"},
    ),
    Case(
        "colocation",
        primitive("A") + primitive("B"),
        {"start A n2", "start B n2"},
        with_("c", "B", "A") + located("l", "A", "n2", "10"),
    ),
    Case(
        "anti-colocation",
        primitive("A") + primitive("B"),
        {"start A n2", "start B n1"},
        with_("c", "B", "A", "-INFINITY") + located("l", "A", "n2", "10") + located("m", "B", "n2", "5"),
    ),
    Case(
        "group",
        group("G", primitive("A"), primitive("B")),
        {"start A n2", "start B n2"},
        located("l", "G", "n2", "10"),
    ),
    Case(
        "group-member-failed",
        group("G", primitive("A", ops=MONITOR), primitive("B")),
        {"recover A n1", "restart B n1"},
        active={"A": "n1", "B": "n1"},
        ops=(("n1", "A", "monitor", 10000, 7),),
    ),
    Case(
        "migration-threshold",
        primitive("A", "migration-threshold=1", MONITOR),
        {"recover A n1->n2"},
        active={"A": "n1"},
        ops=(("n1", "A", "monitor", 10000, 7),),
        attributes={"n1": {"fail-count-A#monitor_10000": "1", "last-failure-A#monitor_10000": "1600000000"}},
    ),
    Case(
        "on-fail-stop",
        primitive("A", ops="monitor,10s,on-fail=stop"),
        {"stop A n1"},
        active={"A": "n1"},
        ops=(("n1", "A", "monitor", 10000, 1),),
    ),
    Case(
        "on-fail-ignore",
        primitive("A", ops="monitor,10s,on-fail=ignore"),
        set(),
        active={"A": "n1"},
        ops=(("n1", "A", "monitor", 10000, 1),),
    ),
    Case("disabled", primitive("A", "target-role=Stopped"), {"stop A n1"}, active={"A": "n1"}),
    Case("unmanaged", primitive("A", "is-managed=false target-role=Stopped"), set(), active={"A": "n1"}),
    Case(
        "restart-after",
        primitive("A", ops=MONITOR) + primitive("B"),
        {"recover A n1", "restart B n2"},
        order("ord", "A", "B"),
        active={"A": "n1", "B": "n2"},
        ops=(("n1", "A", "monitor", 10000, 7),),
    ),
    Case(
        "optional-order",
        primitive("A", ops=MONITOR) + primitive("B"),
        {"recover A n1"},
        order("ord", "A", "B", 'kind="Optional"'),
        active={"A": "n1", "B": "n2"},
        ops=(("n1", "A", "monitor", 10000, 7),),
    ),
    Case(
        "stop-without-quorum",
        primitive("A") + primitive("B"),
        {"stop A n1", "start B n2 blocked"},
        active={"A": "n1"},
        quorum=False,
    ),
    Case(
        "freeze-without-quorum",
        primitive("A") + primitive("B"),
        {"start B n2 blocked"},
        options={"no-quorum-policy": "freeze"},
        active={"A": "n1"},
        quorum=False,
    ),
    Case(
        "fence-lost-node",
        fence_device() + primitive("A"),
        {"Fence (reboot) n3", "move A n3->n2"},
        options={"stonith-enabled": "true"},
        active={"A": "n3", "fencer": "n1"},
        lost=("n3",),
    ),
    Case(
        "failed-stop-is-fenced",
        fence_device() + primitive("A", "target-role=Stopped"),
        {"Fence (reboot) n1", "stop A n1", "move fencer n1->n2"},
        options={"stonith-enabled": "true"},
        active={"A": "n1", "fencer": "n1"},
        ops=(("n1", "A", "stop", 0, 1),),
    ),
    Case("nothing-without-device", primitive("A"), set(), options={"stonith-enabled": "true"}),
    Case(
        "migrate",
        primitive("A", "allow-migrate=true"),
        {"migrate A n1->n2"},
        located("l", "A", "n2", "10"),
        active={"A": "n1"},
    ),
    Case(
        "clone-anonymous",
        clone("C", primitive("A"), "clone-max=2"),
        {"start A n1", "start A n2"},
    ),
    Case(
        "promotable",
        clone("C", primitive("A"), "promotable=true"),
        {"promote A Stopped->Promoted n2", "start A n1", "start A n3"},
        attributes={"n2": {"master-A": "10"}},
    ),
    Case(
        "standby",
        primitive("A"),
        {"move A n1->n2"},
        active={"A": "n1"},
        attributes={"n1": {"standby": "true"}},
    ),
    Case(
        "maintenance",
        primitive("A", "target-role=Stopped"),
        set(),
        options={"maintenance-mode": "true"},
        active={"A": "n1"},
    ),
    Case(
        "multiply-active",
        primitive("A"),
        {"restart A n1"},
        active={"A": "n1,n2"},
    ),
    Case(
        "no-promotion-with-the-stopped",
        group("G", primitive("A", "target-role=Stopped")) + clone("P", primitive("S"), "promotable=true"),
        {"start S n3", "demote S n1"},
        '<rsc_colocation id="c" rsc="P" rsc-role="Promoted" with-rsc="G" score="INFINITY"/>',
        active={"S": "n1,n2"},
        ops=(("n1", "S", "promote", 0, 0),),
        attributes={"n1": {"master-S": "10"}, "n2": {"master-S": "5"}},
    ),
    Case(
        "fail-count-about-to-be-cleared",
        primitive(
            "A",
            "migration-threshold=1",
            params='<instance_attributes id="A-p"><nvpair id="A-p-0" name="fake" value="new"/></instance_attributes>',
        ),
        {"recover A n1"},
        ops=tuple((node, "A", "start", 0, 1) for node in NODES),
        attributes={node: {"fail-count-A#start_0": "INFINITY"} for node in NODES},
    ),
    Case(
        "lost-instance-takes-no-number",
        clone("C", primitive("A", "requires=quorum"), "clone-max=2") + fence_device(),
        {"Fence (reboot) n1", "stop A n1", "start A n2", "start fencer n2"},
        options={"stonith-enabled": "true"},
        active={"A": "n1,n3"},
        lost=("n1",),
    ),
    Case(
        "watchdog-instead-of-devices",
        primitive("A"),
        {"move A n2->n1"},
        located("l", "A", "n2", "-INFINITY"),
        options={"stonith-enabled": "true", "have-watchdog": "true"},
        active={"A": "n2"},
    ),
]

_NAMES = re.compile(r'<primitive id="(\w+)"')


def text_of(case: Case) -> str:
    return xml(case, _NAMES.findall(case.resources))


def compact(item: dict[str, str]) -> str:
    """One summary line in the notation of the cases; instance numbers of anonymous clones mean nothing."""
    if item.get("task"):
        return f"{item['task']} {item['node']}"
    resource = item["resource"].partition(":")[0]
    roles = f" {item['role']}->{item['next-role']}" if item.get("next-role") == "Promoted" else ""
    verb = "promote" if roles else item["action"]
    source, dest = item.get("source"), item.get("dest")
    where = f"{source}->{dest}" if source and dest else source or dest or item["node"]
    return f"{verb} {resource}{roles} {where}{' blocked' if item.get('blocked') == 'true' else ''}"


def decided(text: str) -> set[str]:
    found = set()
    for line in schedule(load_xml(text), NOW).summary:
        fields = {
            "task": line.task,
            "action": line.action,
            "resource": line.resource,
            "role": line.role,
            "next-role": line.next_role,
            "source": line.source,
            "dest": line.dest,
            "node": line.node,
            "blocked": str(line.blocked).lower(),
        }
        found.add(compact({k: v for k, v in fields.items() if v}))
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_decides_as_pacemaker_does(case: Case) -> None:
    assert decided(text_of(case)) == case.expected


@pytest.mark.oracle
@pytest.mark.skipif(shutil.which("crm_simulate") is None, reason="crm_simulate is not installed")
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_pacemaker_itself_decides_so(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "cib.xml"
    file.write_text(text_of(case))
    run = subprocess.run(
        ["crm_simulate", "-R", "-x", str(file), "--output-as=xml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    actions = ET.fromstring(run.stdout).find("actions")
    assert {compact(dict(a.attrib)) for a in (actions if actions is not None else ())} == case.expected


def test_the_same_cib_gives_the_same_transition() -> None:
    text = text_of(CASES[-2])
    assert schedule(load_xml(text), NOW) == schedule(load_xml(text), NOW)


def test_an_order_is_kept_in_the_graph() -> None:
    case = Case("order", primitive("A") + primitive("B"), set(), order("ord", "A", "B"))
    transition = schedule(load_xml(text_of(case)), NOW)
    ids = {action.key: action.id for action in transition.actions}
    assert (ids["A_start_0"], ids["B_start_0"]) in transition.edges


def test_every_placement_leaves_its_reason() -> None:
    case = Case("reason", primitive("A"), set(), located("l", "A", "n3", "10"))
    reasons = schedule(load_xml(text_of(case)), NOW).reasons
    assert any(r.code == "location" and r.node == "n3" and r.data["constraint"] == "l" for r in reasons)
    assert any(r.code == "assigned" and r.resource == "A" and r.node == "n3" for r in reasons)


def with_ops(text: str, change: Callable[[OpRecord], OpRecord | None]) -> Cib:
    """A CIB with each recorded operation changed, or left out where the change says None."""
    cib = load_xml(text)
    states = []
    for state in cib.node_states:
        histories = [
            replace(history, ops=tuple(new for op in history.ops if (new := change(op)) is not None))
            for history in state.resources
        ]
        states.append(replace(state, resources=tuple(histories)))
    return replace(cib, node_states=tuple(states))


def test_an_expired_probe_that_could_not_probe_is_repeated() -> None:
    ops = tuple((node, "A", "monitor", 0, 5) for node in NODES)
    text = text_of(Case("p", primitive("A", "failure-timeout=10"), set(), ops=ops))
    transition = schedule(with_ops(text, lambda op: op if op.rc == 5 else None), NOW)
    assert {a.node for a in transition.actions if a.key == "A_monitor_0"} == set(NODES)


def test_a_fence_device_waits_for_its_node_to_be_let_in() -> None:
    device = fence_device().replace(
        "/>",
        '><meta_attributes id="m"><nvpair id="m-0" name="provides" value="unfencing"/></meta_attributes></primitive>',
    )
    transition = schedule(load_xml(text_of(Case("u", device, set(), options={"stonith-enabled": "true"}))), NOW)
    start = next(a for a in transition.actions if a.key == "fencer_start_0")
    let_in = next(a for a in transition.actions if a.fence == "on" and a.node == start.node)
    assert (let_in.id, start.id) in transition.edges


@pytest.mark.parametrize(
    ("listed", "restarts"),
    [(None, True), ("", False), (" fake ", True)],
    ids=["no list: all parameters", "empty list: none", "listed"],
)
def test_a_changed_parameter_restarts_what_says_so(listed: str | None, restarts: bool) -> None:
    params = '<instance_attributes id="A-p"><nvpair id="A-p-0" name="fake" value="new"/></instance_attributes>'
    text = text_of(Case("r", primitive("A", params=params), set(), active={"A": "n1"}))

    def with_restart_digest(op: OpRecord) -> OpRecord:
        if op.operation != "start":
            return op
        return replace(op, op_restart_digest=digest({}), op_force_restart=listed)

    keys = {action.key for action in schedule(with_ops(text, with_restart_digest), NOW).actions}
    assert ("A_stop_0" in keys, "A_reload-agent_0" in keys) == (restarts, not restarts)
