"""What a node says about itself, and when it has to say it again."""

from __future__ import annotations

from hamgr_sandbox.node.heartbeat import Machine, conditions, needs_report, steady_status

MACHINE = Machine("n1", "10.0.0.1", 10250, "boot-1")
STEADY = steady_status(MACHINE)
HEALTHY = {**STEADY, "conditions": conditions([], 1_800_000_000.0)}


def test_a_report_is_needed_when_something_differs_or_after_five_minutes() -> None:
    assert not needs_report(HEALTHY, STEADY, [], 10.0)
    assert needs_report(HEALTHY, STEADY, [], 300.0)
    assert needs_report(HEALTHY, STEADY, ["kubernetes.io/csi/d^v"], 10.0)
    assert needs_report({**HEALTHY, "volumesInUse": ["x"]}, STEADY, [], 10.0)
    assert needs_report(HEALTHY, steady_status(Machine("n1", "10.0.0.1", 10250, "boot-2")), [], 10.0)


def test_a_node_that_was_given_up_says_that_it_is_back() -> None:
    unknown = [{**c, "status": "Unknown"} for c in HEALTHY["conditions"]]
    assert needs_report({**HEALTHY, "conditions": unknown}, STEADY, [], 10.0)


def test_conditions_keep_the_time_of_their_last_change() -> None:
    first = conditions([], 1_800_000_000.0)
    again = conditions([{**c, "status": "Unknown"} if c["type"] == "Ready" else c for c in first], 1_800_000_100.0)
    changed = {c["type"]: c["lastTransitionTime"] for c in again}
    assert changed["Ready"] == "2027-01-15T08:01:40Z"
    assert changed["DiskPressure"] == "2027-01-15T08:00:00Z"
    assert {c["lastHeartbeatTime"] for c in again} == {"2027-01-15T08:01:40Z"}
