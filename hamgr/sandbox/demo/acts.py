"""The faults of the story, each with its undoing and with what plain Kubernetes and Pacemaker make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hamgr.sandbox.demo.stage import NotInTime, Stage


@dataclass(frozen=True, slots=True)
class Act:
    """One fault.

    title: for people. bound_s: the outage that must not be exceeded. kubernetes, pacemaker: outages measured on real
    ones (docs/performance.md says how), in words. strike: makes the fault and says where. mend: undoes it.
    """

    name: str
    title: str
    bound_s: float
    kubernetes: str
    pacemaker: str
    strike: Callable[[Stage], str]
    mend: Callable[[Stage, str], None] = lambda _stage, _where: None
    cuts_off: bool = False  # the old database runs on, cut off


def _delete_pod(stage: Stage) -> str:
    name = str(stage.active_pod()["metadata"]["name"])
    stage.delete_pod(name)
    return name


def _kill_container(stage: Stage) -> str:
    name = str(stage.active_pod()["metadata"]["name"])
    stage.sandbox.kill_container(name)
    return name


def _kill_leader(stage: Stage) -> str:
    node = stage.leader()
    if not node:
        raise NotInTime("no hamgrd leads")
    stage.sandbox.kill_hamgrd(node)
    return node


def _host(stage: Stage) -> str:
    return str(stage.active_pod()["spec"]["nodeName"])


def _crash(stage: Stage) -> str:
    node = _host(stage)
    stage.sandbox.crash(node)
    return node


def _partition(stage: Stage) -> str:
    node = _host(stage)
    stage.sandbox.partition(node)
    return node


ACTS = (
    Act("pod-deleted", "pod deleted", 3.0, "10.8 s", "-", _delete_pod),
    Act("container-killed", "container killed (SIGKILL)", 2.0, "1.9 s", "2.2 s", _kill_container),
    Act("leader-killed", "leading hamgrd killed (SIGKILL)", 0.0, "-", "-", _kill_leader),
    Act(
        "host-crashed",
        "host of the database crashed",
        8.0,
        "> 900 s",
        "9.5 s",
        _crash,
        lambda stage, node: stage.sandbox.start(node),
    ),
    Act(
        "host-partitioned",
        "host partitioned, database still running there",
        9.0,
        "> 900 s",
        "9.6 s",
        _partition,
        lambda stage, node: stage.sandbox.heal(node),
        cuts_off=True,
    ),
)
