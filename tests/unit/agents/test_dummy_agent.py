"""The dummy agent keeps its state and fails when told to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hamgr_agents.dummy import DummyAgent

from hamgr.executor.agent import ActionContext, ActionTimeout
from hamgr.executor.ocf import Ocf


@pytest.fixture(params=["memory", "files"])
def params(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    return {} if request.param == "memory" else {"state": str(tmp_path / "state")}


def outcomes(agent: DummyAgent, params: dict[str, str], *steps: tuple[str, str]) -> list[int]:
    return [agent.perform(action, ActionContext("d", node, params, instance="d:0")).rc for action, node in steps]


def test_one_state_a_node(params: dict[str, str]) -> None:
    steps = [
        ("monitor", "n1"),
        ("start", "n1"),
        ("start", "n1"),
        ("monitor", "n1"),
        ("monitor", "n2"),
        ("stop", "n1"),
        ("stop", "n1"),
        ("monitor", "n1"),
    ]
    assert outcomes(DummyAgent(), params, *steps) == [7, 0, 0, 0, 7, 0, 0, 7]


def test_promotion_needs_a_start(params: dict[str, str]) -> None:
    steps = [
        ("promote", "n1"),
        ("start", "n1"),
        ("promote", "n1"),
        ("monitor", "n1"),
        ("demote", "n1"),
        ("monitor", "n1"),
        ("migrate_to", "n1"),
        ("demote", "n1"),
    ]
    assert outcomes(DummyAgent(), params, *steps) == [7, 0, 0, 8, 0, 0, 0, 7]


def test_files_outlive_the_agent(tmp_path: Path) -> None:
    params = {"state": str(tmp_path)}
    assert outcomes(DummyAgent(), params, ("start", "n1")) == [0]
    assert outcomes(DummyAgent(), params, ("monitor", "n1")) == [0]


def test_failures_on_demand() -> None:
    params = {"fail_on": "start monitor", "fail_nodes": "n2", "fail_rc": "5"}
    steps = [("start", "n1"), ("start", "n2"), ("monitor", "n2"), ("stop", "n2")]
    assert outcomes(DummyAgent(), params, *steps) == [0, 5, 5, 0]


def test_slowness_respects_the_deadline() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    slow = ActionContext("d", "n1", {"op_sleep": "1h"}, deadline=1.0, clock=clock)
    with pytest.raises(ActionTimeout, match="start of d takes longer than it may"):
        DummyAgent().perform("start", slow)


def test_a_promotion_score_is_a_node_attribute() -> None:
    agent = DummyAgent()
    result = agent.perform("start", ActionContext("d", "n1", {"promotion_score": "10"}, instance="d:0"))
    assert (result.rc, result.attributes) == (Ocf.OK, {"master-d": "10"})
