"""What to do for a pod, judged on values."""

from __future__ import annotations

from typing import Any

import pytest
from hamgr_sandbox.node.backoff import Backoff
from hamgr_sandbox.node.plan import ContainerView, Phase, Plan, PodView, plan

NOW = 1000.0
RUNS = ContainerView(Phase.RUNNING, started=True)
DONE = ContainerView(Phase.EXITED, exit_code=0, finished_at=NOW)
FAILED = ContainerView(Phase.EXITED, exit_code=1, finished_at=NOW)


def planned(
    views: dict[str, ContainerView] | None = None,
    *,
    init: tuple[str, ...] = (),
    sidecars: tuple[str, ...] = (),
    main: tuple[str, ...] = ("a",),
    policy: str = "Always",
    terminating: bool = False,
    prepared: bool = True,
) -> Plan:
    spec: dict[str, Any] = {
        "restartPolicy": policy,
        "initContainers": [
            *({"name": name, "restartPolicy": "Always"} for name in sidecars),
            *({"name": name} for name in init),
        ],
        "containers": [{"name": name} for name in main],
    }
    return plan(PodView(spec, views or {}, terminating, prepared), NOW)


def test_nothing_starts_before_volumes_and_address_are_there() -> None:
    assert planned(prepared=False) == Plan(initialized=True)


def test_all_containers_start_together() -> None:
    assert planned(main=("a", "b")).start == ("a", "b")


def test_init_containers_run_one_after_another_before_all_others() -> None:
    both = {"init": ("i", "j")}
    assert planned(init=("i", "j")) == Plan(start=("i",))
    assert planned({"i": RUNS}, init=both["init"]) == Plan()
    assert planned({"i": DONE}, init=both["init"]) == Plan(start=("j",))
    assert planned({"i": DONE, "j": DONE}, init=both["init"]) == Plan(start=("a",), initialized=True)


def test_init_containers_never_run_again_once_the_others_have_started() -> None:
    assert planned({"i": FAILED, "a": FAILED}, init=("i",)).start == ("a",)


def test_a_failed_init_container_runs_again_or_ends_the_pod_as_the_policy_says() -> None:
    assert planned({"i": FAILED}, init=("i",), policy="OnFailure").start == ("i",)
    assert planned({"i": FAILED}, init=("i",), policy="Never") == Plan(finished=True)


def test_a_sidecar_lets_the_next_go_when_it_has_started_and_is_restarted_ever_after() -> None:
    starting = ContainerView(Phase.RUNNING, started=False)
    assert planned(sidecars=("s",)).start == ("s",)
    assert planned({"s": starting}, sidecars=("s",)).start == ()
    assert planned({"s": RUNS}, sidecars=("s",)).start == ("a",)
    assert planned({"s": DONE, "a": RUNS}, sidecars=("s",)).start == ("s",)


@pytest.mark.parametrize(
    ("policy", "view", "restarted"),
    [
        ("Always", DONE, True),
        ("Always", FAILED, True),
        ("OnFailure", DONE, False),
        ("OnFailure", FAILED, True),
        ("Never", DONE, False),
        ("Never", FAILED, False),
    ],
)
def test_restart_policy(policy: str, view: ContainerView, restarted: bool) -> None:
    assert planned({"a": view}, policy=policy).start == (("a",) if restarted else ())
    assert planned({"a": view}, policy=policy).finished is not restarted


def test_a_crashed_container_waits_for_its_back_off() -> None:
    waiting = ContainerView(Phase.EXITED, 1, finished_at=NOW - 4, backoff=Backoff(10.0, NOW - 30))
    made = planned({"a": waiting, "b": RUNS}, main=("a", "b"))
    assert (made.start, made.backing_off, made.wake_in_s) == ((), {"a": 6.0}, 6.0)


def test_what_could_not_be_started_is_tried_again_later() -> None:
    made = planned({"a": ContainerView(not_before=NOW + 3)})
    assert (made.start, made.wake_in_s) == ((), 3.0)
    assert planned({"a": ContainerView(not_before=NOW)}).start == ("a",)


def test_a_failed_probe_stops_its_container_once() -> None:
    sick = ContainerView(Phase.RUNNING, started=True, failed_probe="liveness")
    assert planned({"a": sick, "b": RUNS}, main=("a", "b")).stop == {"a": "liveness"}
    being_stopped = ContainerView(Phase.RUNNING, started=True, failed_probe="liveness", stopping=True)
    assert planned({"a": being_stopped}).stop == {}


def test_a_deleted_pod_starts_nothing_and_is_finished_when_nothing_runs() -> None:
    assert planned(terminating=True) == Plan(finished=True, initialized=True)
    made = planned({"a": RUNS, "b": FAILED}, main=("a", "b"), terminating=True)
    assert (made.start, made.stop, made.finished) == ((), {"a": ""}, False)
    stopping = ContainerView(Phase.RUNNING, stopping=True)
    assert planned({"a": stopping}, terminating=True) == Plan(initialized=True)


def test_sidecars_end_last() -> None:
    assert planned({"s": RUNS, "a": RUNS}, sidecars=("s",), terminating=True).stop == {"a": ""}
    assert planned({"s": RUNS, "a": DONE}, sidecars=("s",), terminating=True).stop == {"s": ""}
    completed = planned({"s": RUNS, "a": DONE}, sidecars=("s",), policy="Never")
    assert (completed.stop, completed.finished) == ({"s": ""}, False)
