"""What waits for a probe is decided once the probe has answered."""

from __future__ import annotations

import pytest
from fixtures.leader_world import World

from hamgr.controller.requests.handlers import RequestHandlers
from hamgr.controller.transition.probing import probes_first
from hamgr.scheduler.transition import GraphAction, SummaryLine, Transition
from hamgr.store.requests import Request

PROBE = GraphAction(1, "rsc", "db_monitor_0", "monitor", "n1", "db")
START = GraphAction(2, "rsc", "db_start_0", "start", "n1", "db")
WATCH = GraphAction(3, "rsc", "db_monitor_10000", "monitor", "n1", "db", interval_ms=10_000)
WEB = GraphAction(4, "rsc", "web_start_0", "start", "n2", "web")
FENCE = GraphAction(5, "crm", "stonith-n3-reboot", "stonith", "n3", fence="reboot")
SUMMARY = (SummaryLine("start", "db", node="n1"), SummaryLine("start", "web", node="n2"))
PLAN = Transition((PROBE, START, WATCH, WEB), ((1, 2), (2, 3)), SUMMARY)


def test_a_start_behind_a_probe_is_not_planned_yet() -> None:
    walked = probes_first(PLAN)
    assert walked.actions == (PROBE, WEB)
    assert walked.edges == ()
    assert walked.summary == SUMMARY[1:]


@pytest.mark.parametrize(
    "plan",
    [
        Transition((START, WATCH), ((2, 3),), SUMMARY[:1]),
        Transition((PROBE, WEB), (), SUMMARY[1:]),
        Transition((PROBE, FENCE, START), ((1, 5), (5, 2)), SUMMARY[:1]),
    ],
    ids=["no probe", "nothing behind it", "a fence behind it"],
)
def test_what_waits_for_no_probe_is_planned_at_once_and_no_fence_is_put_off(plan: Transition) -> None:
    assert probes_first(plan) is plan


def test_a_fence_that_waits_for_no_probe_begins_at_once() -> None:
    walked = probes_first(Transition((PROBE, FENCE, START), ((1, 2), (5, 2)), ()))
    assert walked.actions == (PROBE, FENCE)


def test_a_cleanup_of_what_runs_plans_no_start() -> None:
    world = World()
    world.settle()
    (node,) = world.where("db")
    (monitor,) = [op for op in world.executor.monitors.values() if op.name == "db"]
    world.report(monitor, 1)
    world.settle()
    (node,) = world.where("db")
    before = len(world.told)
    RequestHandlers(world.leader, None, None, lambda: world.time).carry_out(
        Request("1", "cleanup", {"resource": "", "node": ""}, "root@n2", 0.0)
    )
    world.advance()
    run = world.leader.transition_run
    assert run is not None
    assert {action.task for action in run.transition.actions if action.kind == "rsc"} == {"monitor"}
    world.settle()
    assert world.where("db") == [node]
    assert [text for code, text in world.told[before:] if code == "decision"] == []
    assert world.leader.cluster_state.state(node).attributes == {}
