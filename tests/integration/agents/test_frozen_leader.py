"""A leader that stands still between any two requests of an action, while the next one takes over: it changes nothing.

It is stopped where it hurts most: after its last look at the leadership, right before the request. Once thawed that one
request goes out; all later ones ask the gate, and are refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fixtures.scripted_cluster import ScriptedCluster
from fixtures.waiting import wait_until
from hamgr_agents.pod import PodAgent
from hamgr_agents.service import ServiceAgent
from hamgr_agents.volume import VolumeAgent

from hamgr.controller.stamping import Stamping
from hamgr.executor.agent import ActionContext, ActionTimeout, Agent
from hamgr.executor.ocf import Ocf
from hamgr.kube.cache import Cache
from hamgr.kube.errors import Barred, KubeError
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import POD, VOLUME_ATTACHMENT, is_terminating, labels_of, name_of, uid_of
from hamgr.kube.pods import is_unbound, node_of

Context = Callable[..., ActionContext]
TEMPLATE = {
    "containers": [{"name": "main", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}],
    "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
}
PARAMS: dict[str, dict[str, Any]] = {
    "volume": {"claim": "data"},
    "pod": {"template": TEMPLATE},
    "service": {"service": "db", "resource": "pod", "manage": "true"},
}
AGENTS: dict[str, Agent] = {"volume": VolumeAgent(), "pod": PodAgent(), "service": ServiceAgent()}


class Frozen:
    """A gate behind which the leader freezes at its nth request; whatever it asks after that is refused."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.asked: list[str] = []
        self.frozen, self.thawed = threading.Event(), threading.Event()

    def __call__(self, asked: str, wanted_s: float) -> float:
        if self.frozen.is_set():
            raise Barred("another one leads")
        self.asked.append(asked)
        if len(self.asked) == self._at:
            self.frozen.set()
            assert self.thawed.wait(30)
        return wanted_s


def what_counts(kube: Kube) -> set[tuple[object, ...]]:
    """What a second leader has to be able to rely on; a pod that is bound to no node is nothing."""
    pods = [pod for pod in kube.list(POD.collection("default")).items if not is_unbound(pod)]
    attachments = kube.list(VOLUME_ATTACHMENT.collection()).items
    return {
        (name_of(obj), uid_of(obj), node_of(obj), labels_of(obj).get("hamgr.io/role"), is_terminating(obj))
        for obj in (*pods, *attachments)
    }


def take_over(kube: Kube, cache: Cache) -> None:
    done = threading.Event()
    Stamping(kube, cache, "test", lambda _: done.set()).begin([("default", "data")], 7)
    assert done.wait(10)


def run(agent: Agent, task: str, ctx: ActionContext) -> None:
    try:
        agent.perform(task, ctx)
    except (ActionTimeout, KubeError):
        pass  # nobody listens any more


# (resource, task, what it asks for): the creation of an attachment alone has an effect when it is late, see fencing.md
ACTIONS = {
    ("pod", "start"): ["POST", "POST"],
    ("service", "start"): ["POST", "PATCH"],
    ("service", "stop"): ["PATCH"],
    ("pod", "stop"): ["DELETE"],
    ("volume", "stop"): ["DELETE"],
}
BEFORE = {
    ("pod", "start"): [("volume", "start")],
    ("service", "start"): [("volume", "start"), ("pod", "start")],
    ("service", "stop"): [("volume", "start"), ("pod", "start"), ("service", "start")],
    ("pod", "stop"): [("volume", "start"), ("pod", "start")],
    ("volume", "stop"): [("volume", "start")],
}


@pytest.mark.parametrize(
    ("resource", "task", "at"),
    [(resource, task, at + 1) for (resource, task), asks in ACTIONS.items() for at in range(len(asks))],
)
def test_a_leader_frozen_before_a_request_changes_nothing_once_another_leads(
    world: ScriptedCluster, context: Context, kube: Kube, cache: Cache, resource: str, task: str, at: int
) -> None:
    world.add_volume("data")
    for which, what in BEFORE[resource, task]:
        assert AGENTS[which].perform(what, context(which, "n1", **PARAMS[which])).rc is Ocf.OK
    gate = Frozen(at)
    free = context(resource, "n1", timeout_s=30, **PARAMS[resource])
    ctx = replace(free, kube=kube.behind(gate), cancelled=gate.frozen.is_set)
    old = threading.Thread(target=run, args=(AGENTS[resource], task, ctx))
    old.start()
    assert gate.frozen.wait(20)
    take_over(kube, cache)
    relied_on = what_counts(kube)
    gate.thawed.set()
    old.join(20)
    assert not old.is_alive()
    assert what_counts(kube) == relied_on
    assert [asked.split()[0] for asked in gate.asked] == ACTIONS[resource, task][:at]
    wait_until(lambda: AGENTS[resource].perform(task, context(resource, "n1", **PARAMS[resource])).rc is Ocf.OK)
