"""Small parts of the node agent: loopback addresses, the end of a log, durations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hamgr_sandbox.node.__main__ import seconds
from hamgr_sandbox.node.podnetwork import LoopbackNetwork, PodAddress
from hamgr_sandbox.node.runtime import Container
from hamgr_sandbox.node.server import tail_offset
from hamgr_sandbox.node.track import EarlierRuns, tracks_of


def test_loopback_addresses_are_kept_across_agents_and_given_again(tmp_path: Path) -> None:
    network = LoopbackNetwork("127.5.1.0/29", tmp_path)
    assert [network.add(uid).ip for uid in ("a", "b", "a")] == ["127.5.1.1", "127.5.1.2", "127.5.1.1"]
    again = LoopbackNetwork("127.5.1.0/29", tmp_path)
    assert again.add("b") == PodAddress("127.5.1.2")
    again.remove("a")
    again.remove("never known")
    assert again.add("c").ip == "127.5.1.1"
    for number in range(4):
        again.add(f"more-{number}")
    with pytest.raises(OSError, match="all 6 pod addresses"):
        again.add("too many")


@pytest.mark.parametrize(
    ("lines", "rest"), [(None, "a\nbb\nc"), ("0", ""), ("1", "c"), ("2", "bb\nc"), ("9", "a\nbb\nc")]
)
def test_the_last_lines_of_a_log(tmp_path: Path, lines: str | None, rest: str) -> None:
    path = tmp_path / "0.log"
    path.write_text("a\nbb\nc")
    assert path.read_text()[tail_offset(path, lines) :] == rest


@pytest.mark.parametrize(("text", "value"), [("10s", 10.0), ("500ms", 0.5), ("2m", 120.0), ("1.5", 1.5)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(("policy", "may_run"), [("Always", True), ("OnFailure", True), ("Never", False)])
def test_a_container_lost_with_its_node_counts_on_and_runs_again_as_its_policy_allows(
    policy: str, may_run: bool
) -> None:
    running = {"name": "c", "containerID": "hamgr://1", "restartCount": 2, "state": {"running": {"startedAt": "x"}}}
    pod = {
        "spec": {"restartPolicy": policy, "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "containerStatuses": [running]},
    }
    track = tracks_of(pod, [], now=0.0)["c"]
    assert (track.failure is None) is may_run
    assert track.was_lost
    assert (track.report().restart_count, track.exit_code) == (2, 0 if may_run else 255)


def test_a_pod_that_has_ended_is_not_run_again() -> None:
    ended = {"name": "c", "containerID": "hamgr://1", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}
    pod = {
        "spec": {"restartPolicy": "Always", "containers": [{"name": "c"}]},
        "status": {"phase": "Succeeded", "containerStatuses": [ended]},
    }
    track = tracks_of(pod, [], now=0.0)["c"]
    assert track.failure is not None
    assert track.failure.exit_code == 0


def test_a_container_that_ends_while_the_agent_starts_again_is_taken_over_as_ended() -> None:
    running = Container("1", "uid", "default", "pod", "c", 0, "log", pid=7, started_ticks=1, started_at=1.0)
    ended = replace(running, exit_code=74, finished_at=2.0)
    early, late = EarlierRuns(), EarlierRuns()
    early.exited(ended)
    early.found([running])
    late.found([running])
    late.exited(ended)
    assert early.take("uid") == late.take("uid") == [ended]
    assert early.take("uid") == []
