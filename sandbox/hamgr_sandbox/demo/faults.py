"""The faults of the story, each with its undoing and with what plain Kubernetes and Pacemaker make of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from hamgr_sandbox.cluster import Sandbox
from hamgr_sandbox.demo.cluster import DemoCluster, NotInTime


@dataclass(frozen=True, slots=True)
class Act:
    """One fault.

    title, deed: for people; the deed names what was hit ({where}). bound_s: the outage that must not be exceeded.
    needs_root: why an ordinary user cannot play it; empty: he can.
    kubernetes, pacemaker: outages measured on real ones (docs/performance.md says how), in words. strike: makes the
    fault and says what was hit. mend: undoes it.
    """

    name: str
    title: str
    deed: str
    bound_s: float
    kubernetes: str
    pacemaker: str
    strike: Callable[[DemoCluster], str]
    mend: Callable[[DemoCluster, str], None] = lambda _stage, _where: None
    cuts_off: bool = False  # the old database runs on, cut off
    needs_hamgr: bool = False  # plain Kubernetes has no such thing
    needs_root: str = ""

    @property
    def left_out(self) -> str:
        """Why this user cannot play it; empty: he can."""
        return self.needs_root if os.geteuid() != 0 else ""


def _delete_pod(stage: DemoCluster) -> str:
    name = str(stage.active_pod()["metadata"]["name"])
    stage.delete_pod(name)
    return name


def _kill_container(stage: DemoCluster) -> str:
    name = str(stage.active_pod()["metadata"]["name"])
    stage.sandbox.kill_container(name)
    return name


def _kill_leader(stage: DemoCluster) -> str:
    node = stage.leader()
    if not node:
        raise NotInTime("no hamgrd leads")
    stage.sandbox.kill_hamgrd(node)
    return node


def _on_active_host(hit: Callable[[Sandbox, str], None]) -> Callable[[DemoCluster], str]:
    """A strike at the host of the active pod."""

    def strike(stage: DemoCluster) -> str:
        node = str(stage.active_pod()["spec"]["nodeName"])
        hit(stage.sandbox, node)
        return node

    return strike


ACTS = (
    Act(
        name="pod-deleted",
        title="pod deleted",
        deed="kubectl delete pod {where}",
        bound_s=3.0,
        kubernetes="10.8 s",
        pacemaker="-",
        strike=_delete_pod,
    ),
    Act(
        name="container-killed",
        title="container killed",
        deed="SIGKILL to MariaDB in pod {where}",
        bound_s=2.0,
        kubernetes="1.9 s",
        pacemaker="2.2 s",
        strike=_kill_container,
    ),
    Act(
        name="leader-killed",
        title="leading hamgrd killed",
        deed="SIGKILL to the leading hamgrd, on {where}",
        bound_s=0.0,
        kubernetes="-",
        pacemaker="-",
        strike=_kill_leader,
        needs_hamgr=True,
    ),
    Act(
        name="host-crashed",
        title="host crashed",
        deed="power off: {where}, where MariaDB runs",
        bound_s=8.0,
        kubernetes="> 900 s",
        pacemaker="9.5 s",
        strike=_on_active_host(Sandbox.crash),
        mend=lambda stage, node: stage.sandbox.start(node),
    ),
    Act(
        name="host-partitioned",
        title="host cut off, still writing",
        deed="network cut: {where}; MariaDB runs on there, and a client beside it goes on writing",
        bound_s=9.0,
        kubernetes="-",
        pacemaker="9.6 s",
        strike=_on_active_host(Sandbox.partition),
        mend=lambda stage, node: stage.sandbox.heal(node),
        cuts_off=True,
        needs_root="without root the nodes have no network of their own to cut: run it as root (sudo make demo)",
    ),
)
