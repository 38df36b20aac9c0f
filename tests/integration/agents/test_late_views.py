"""A monitor that follows a start closely judges on what is at least as new as what the start has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fixtures.scripted_cluster import ScriptedCluster
from fixtures.waiting import wait_until
from hamgr_agents.pod import PodAgent
from hamgr_agents.service import ServiceAgent
from hamgr_agents.volume import VolumeAgent

from hamgr.executor.agent import ActionContext, Agent
from hamgr.executor.ocf import Ocf
from hamgr.kube.cache import Cache
from hamgr.kube.objects import POD, PVC, SERVICE, VOLUME_ATTACHMENT

from .conftest import Behind

Context = Callable[..., ActionContext]
PLAIN = {"containers": [{"name": "main", "image": "i"}]}
CASES: dict[str, tuple[type[Agent], str, dict[str, Any]]] = {
    "volume": (VolumeAgent, "disk", {"claim": "data"}),
    "pod": (PodAgent, "db", {"template": PLAIN}),
    "service": (ServiceAgent, "ip", {"service": "db", "resource": "db", "manage": "true"}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("interval_ms", [0, 10_000])
def test_a_view_from_before_the_start_makes_no_failure(
    world: ScriptedCluster, context: Context, cache: Cache, name: str, interval_ms: int
) -> None:
    kind, resource, params = CASES[name]
    agent = kind()
    world.add_volume("data")
    wait_until(lambda: cache.get(PVC, "data", "default"))
    if name == "service":
        assert PodAgent().perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    behind: Any = Behind(cache, POD, SERVICE, VOLUME_ATTACHMENT)
    before = replace(context(resource, "n1", interval_ms=interval_ms, **params), cache=behind)
    assert agent.perform("monitor", before).rc is (Ocf.OK if name == "volume" and interval_ms else Ocf.NOT_RUNNING)
    assert agent.perform("start", context(resource, "n1", **params)).rc is Ocf.OK
    result = agent.perform("monitor", replace(context(resource, "n1", interval_ms=interval_ms, **params), cache=behind))
    assert (result.rc, result.reason) == (Ocf.OK, "")
