"""The fence beside the sandbox's attach-detach controller and attacher: the volume moves to whoever waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fixtures.control_plane import PODS, Plane, claim, control_plane, found, pod, until
from fixtures.fence_world import MemoryRecords
from hamgr_sandbox.attacher import Fault, set_faults
from hamgr_sandbox.client import Object
from hamgr_sandbox.controllers import objects

from hamgr.fencer import (
    Confirmation,
    FencerDeps,
    FenceRecord,
    FencingConfig,
    Level,
    LevelConfig,
    Outcome,
    Target,
    reason,
)
from hamgr.fencer.records import new_record
from hamgr.fencer.runner import Run
from hamgr.kube.connection import KubeConfig
from hamgr.kube.gateway import Kube

CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
VOLUME = LevelConfig(Level.VOLUME, timeout_s=10.0)
LABELS = {"hamgr.io/cluster": "t", "hamgr.io/resource": "db"}


def play(tmp_path: Path, story: Callable[[Plane], Awaitable[None]], *options: str) -> None:
    """`db-n1` runs with its volume; `db-n2` is parked, with the volume reported in use already."""

    async def perform() -> None:
        async with control_plane(tmp_path, "--attach-detach-poll=0.1", *options) as plane:
            for name in ("n1", "n2"):
                await plane.node(name)
            await plane.client.post(CLAIMS, claim())
            await plane.client.post(PODS, pod("db-n1", "data", LABELS | {"hamgr.io/role": "active"}, nodeName="n1"))
            await until("the database runs", lambda: ready(plane, "db-n1"))
            await plane.client.post(PODS, pod("db-n2", "data", LABELS, nodeName="n2"))
            await until("its standby is parked", lambda: in_use(plane, "n2"))
            await story(plane)

    asyncio.run(perform())


async def ready(plane: Plane, name: str) -> bool:
    got = await found(plane.client, f"{PODS}/{name}")
    return got is not None and objects.is_true(got, "Ready")


async def in_use(plane: Plane, node: str) -> list[str]:
    got: Object = await plane.client.get(f"/api/v1/nodes/{node}")
    return list(got["status"].get("volumesInUse") or [])


async def holder(plane: Plane) -> str | None:
    handle = (await plane.client.get(f"{CLAIMS}/data"))["spec"]["volumeName"]
    return plane.store.holder(handle)


async def fence(plane: Plane, tmp_path: Path, target: Target, *levels: LevelConfig) -> FenceRecord:
    path = tmp_path / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "t",
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
        "clusters": [{"name": "t", "cluster": {"server": plane.client.server}}],
        "users": [{"name": "t", "user": {}}],
    }
    path.write_text(json.dumps(config))
    kube = Kube(KubeConfig(kubeconfig=path))
    word = Confirmation("root", "the rack is dark", 1.0)
    record = new_record(target, reason("node-lost", node="n1"), "hamgrd n2", levels, confirmation=word)
    try:
        around = FencerDeps(kube, MemoryRecords(), FencingConfig(), "t", "n2", {})
        return await asyncio.to_thread(Run(around, record).to_the_end)
    finally:
        kube.close()


@pytest.mark.parametrize("level", [VOLUME, LevelConfig(Level.MANUAL, timeout_s=10.0)])
def test_the_parked_pod_takes_over_from_a_crashed_host(tmp_path: Path, level: LevelConfig) -> None:
    async def story(plane: Plane) -> None:
        plane.nodes["n1"].crash()
        record = await fence(plane, tmp_path, Target("n1"), level)
        assert record.outcome is Outcome.SUCCEEDED
        await until("the standby runs", lambda: ready(plane, "db-n2"))
        assert await holder(plane) == "n2"
        assert await found(plane.client, f"{PODS}/db-n1") is None
        left = [volume.volume.released_mark for volume in record.volumes] if level.level is Level.VOLUME else []
        assert await in_use(plane, "n1") == left

    play(tmp_path, story)


def test_a_node_that_counts_as_not_ready_is_tainted_after_the_proof(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        plane.nodes["n1"].crash()

        async def unknown() -> bool:
            node = await plane.client.get("/api/v1/nodes/n1")
            return objects.condition(node, "Ready")["status"] == "Unknown"

        await until("the node counts as lost", unknown)
        record = await fence(plane, tmp_path, Target("n1"), LevelConfig(Level.MANUAL))
        assert record.outcome is Outcome.SUCCEEDED
        await until("the standby runs", lambda: ready(plane, "db-n2"))
        assert await holder(plane) == "n2"

    play(tmp_path, story, "--node-monitor-grace-period=1", "--node-monitor-period=0.2")


def test_a_pod_of_a_living_node_moves_when_its_kubelet_has_let_go(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        target = Target("n1", pods=(("default", "db-n1"),), alive=True)
        record = await fence(plane, tmp_path, target, VOLUME)
        assert record.outcome is Outcome.SUCCEEDED
        await until("the standby runs", lambda: ready(plane, "db-n2"))
        assert await holder(plane) == "n2"

    play(tmp_path, story)


def test_an_orderly_stop_is_proved_by_the_kubelet(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        target = Target("n1", pods=(("default", "db-n1"),), alive=True)
        record = await fence(plane, tmp_path, target, LevelConfig(Level.STOP), VOLUME)
        assert record.outcome is Outcome.SUCCEEDED
        await until("the standby runs", lambda: ready(plane, "db-n2"))

    play(tmp_path, story)


def test_while_the_detach_fails_nobody_takes_over_and_then_somebody_does(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        plane.nodes["n1"].crash()
        set_faults(plane.disks, {"detach": Fault(fail="device is busy")})
        failed = await fence(plane, tmp_path, Target("n1"), LevelConfig(Level.VOLUME, timeout_s=1.0))
        assert failed.outcome is Outcome.FAILED
        assert "device is busy" in str(failed.tried[0].data["waiting"])
        assert await holder(plane) == "n1"
        assert not await ready(plane, "db-n2")
        set_faults(plane.disks, {})
        claims = (("default", "data"),)
        again = await fence(plane, tmp_path, Target("n1", claims=claims), VOLUME)
        assert again.outcome is Outcome.SUCCEEDED
        assert [proof.kind for proof in again.proofs] == ["detached"]
        await until("the standby runs", lambda: ready(plane, "db-n2"))
        assert await holder(plane) == "n2"

    play(tmp_path, story)
