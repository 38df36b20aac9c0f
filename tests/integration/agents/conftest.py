"""Agents on a scripted cluster behind a stand-in API server, each test with its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.scripted_cluster import ScriptedCluster
from hamgr_sandbox.apiserver.threaded import in_thread

from hamgr.executor.agent import ActionContext
from hamgr.kube.cache import Cache
from hamgr.kube.connection import KubeConfig
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import Kind, Obj, name_of, namespace_of

Context = Callable[..., ActionContext]


class Behind:
    """A cache whose sight of objects stands still from now on, while it counts as fresh: its watch is a little late."""

    def __init__(self, cache: Cache, *kinds: Kind) -> None:
        self._cache = cache
        self._seen = {kind: {(namespace_of(o), name_of(o)): o for o in cache.list(kind)} for kind in kinds}

    def get(self, kind: Kind, name: str, namespace: str = "") -> Obj | None:
        if kind in self._seen:
            return self._seen[kind].get((namespace, name))
        return self._cache.get(kind, name, namespace)

    def staleness_s(self, _kind: Kind) -> float:
        return 1.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[Kube]:
    """A gateway to an empty stand-in API server."""
    with in_thread() as url:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        gateway = Kube(KubeConfig(kubeconfig=path))
        yield gateway
        gateway.close()


@pytest.fixture
def world(kube: Kube) -> Iterator[ScriptedCluster]:
    """Nodes n1, n2 and n3 that do their work."""
    cluster = ScriptedCluster(kube)
    cluster.start("n1", "n2", "n3")
    yield cluster
    cluster.stop()


@pytest.fixture
def cache(kube: Kube, world: ScriptedCluster) -> Iterator[Cache]:
    """The cache that the agents under test look at."""
    opened = Cache(kube, probe_s=0.2)
    opened.start()
    assert opened.wait_synced(10)
    yield opened
    opened.stop()


@pytest.fixture
def context(kube: Kube, cache: Cache) -> Context:
    """What an action gets: ``context("db", "n1", timeout_s=5, claim="data", ...)``."""

    def make(resource: str, node: str, /, timeout_s: float = 20.0, **params: Any) -> ActionContext:
        unmounted = params.pop("unmounted", lambda node, volume: None)
        departed = params.pop("departed", lambda node, pod_uid: None)
        interval_ms = params.pop("interval_ms", 0)
        return ActionContext(
            resource=resource,
            instance=resource,
            node=node,
            params={k: v if isinstance(v, str) else json.dumps(v) for k, v in params.items()},
            deadline=time.monotonic() + timeout_s,
            kube=kube,
            cache=cache,
            cluster="test",
            interval_ms=interval_ms,
            unmounted=unmounted,
            departed=departed,
        )

    return make
