"""What fencing rests on: when a volume moves, when it does not, and what a VolumeAttachment's end proves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fixtures.control_plane import PODS, Plane, claim, control_plane, found, pod, until
from hamgr_sandbox.attacher import FINALIZER, Fault, set_faults
from hamgr_sandbox.client import ApiError, Object
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.attachments import Volume
from hamgr_sandbox.disks import DRIVER

ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
QUICK = ("--attach-detach-poll=0.1",)
FORCE = {"gracePeriodSeconds": 0}


def play(tmp_path: Path, story: Callable[[Plane], Awaitable[None]], *options: str) -> None:
    async def perform() -> None:
        async with control_plane(tmp_path, *QUICK, *options) as plane:
            for name in ("n1", "n2"):
                await plane.node(name)
            await plane.client.post(CLAIMS, claim())
            await story(plane)

    asyncio.run(perform())


async def run_on(plane: Plane, node: str) -> Volume:
    """A pod ``p-NODE`` with the claim, running there; its volume."""
    await plane.client.post(PODS, pod(f"p-{node}", "data", nodeName=node))
    await until(f"p-{node} is ready", lambda: is_ready(plane, f"p-{node}"))
    handle = (await plane.client.get(f"{CLAIMS}/data"))["spec"]["volumeName"]
    return Volume(handle, DRIVER, handle)


async def is_ready(plane: Plane, name: str) -> bool:
    return objects.is_true(await plane.client.get(f"{PODS}/{name}"), "Ready")


async def attachment(plane: Plane, volume: Volume, node: str) -> Object | None:
    return await found(plane.client, f"{ATTACHMENTS}/{volume.attachment_name(node)}")


async def has_attached(plane: Plane, volume: Volume, node: str) -> bool:
    va = await attachment(plane, volume, node)
    return bool(va and va["status"]["attached"])


async def park(plane: Plane, node: str) -> None:
    await plane.client.post(PODS, pod(f"p-{node}", "data", nodeName=node))

    async def refused() -> bool:
        events = (await plane.client.list("/api/v1/namespaces/default/events"))["items"]
        return any(e["reason"] == "FailedAttachVolume" and e["involvedObject"]["name"] == f"p-{node}" for e in events)

    await until(f"p-{node} is parked", refused)


async def crash_and_force_delete(plane: Plane) -> Volume:
    """Node n1 dies with its pod, whose object is deleted by force; a pod for the same claim waits on n2."""
    volume = await run_on(plane, "n1")
    await park(plane, "n2")
    plane.nodes["n1"].crash()
    await plane.client.delete(f"{PODS}/p-n1", FORCE)
    return volume


def test_a_dead_nodes_volume_in_use_keeps_the_volume_there(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        volume = await crash_and_force_delete(plane)
        await asyncio.sleep(1.0)  # ten beats of the controller, and nothing moves
        assert await has_attached(plane, volume, "n1")
        assert plane.store.holder(volume.handle) == "n1"
        assert not await is_ready(plane, "p-n2")

    play(tmp_path, story)


def test_out_of_service_taint_of_any_effect_releases_it(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        volume = await crash_and_force_delete(plane)
        taint = {"key": objects.OUT_OF_SERVICE, "value": "x", "effect": "NoSchedule"}
        await plane.client.patch("/api/v1/nodes/n1", {"spec": {"taints": [taint]}})
        await until("the waiting pod runs", lambda: is_ready(plane, "p-n2"))
        assert plane.store.holder(volume.handle) == "n2"
        assert await attachment(plane, volume, "n1") is None

    play(tmp_path, story)


def test_force_detach_from_a_node_that_is_not_ready(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        await crash_and_force_delete(plane)
        await until("the waiting pod runs", lambda: is_ready(plane, "p-n2"))
        node = await plane.client.get("/api/v1/nodes/n1")
        assert objects.condition(node, "Ready")["status"] == "Unknown"

    options = ("--attach-detach-force-after=2", "--node-monitor-grace-period=1", "--node-monitor-period=0.2")
    play(tmp_path, story, *options)


def test_deleted_attachment_is_made_again_while_the_pod_object_is_there(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        volume = await run_on(plane, "n1")
        first = await attachment(plane, volume, "n1")
        await plane.client.delete(f"{ATTACHMENTS}/{volume.attachment_name('n1')}")

        async def another() -> bool:
            va = await attachment(plane, volume, "n1")
            return bool(va and first and va["metadata"]["uid"] != first["metadata"]["uid"] and va["status"]["attached"])

        await until("a new attachment", another)

    play(tmp_path, story, "--attach-detach-reconcile-sync-period=1")


def test_deleted_attachment_is_not_noticed_before_the_sync(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        volume = await crash_and_force_delete(plane)
        await plane.client.delete(f"{ATTACHMENTS}/{volume.attachment_name('n1')}")
        await until("it is gone", lambda: _gone(plane, volume, "n1"))
        assert plane.store.holder(volume.handle) is None
        await asyncio.sleep(1.0)
        assert await attachment(plane, volume, "n2") is None

        await plane.client.patch("/api/v1/nodes/n1/status", {"status": {"volumesInUse": None}})
        await until("the waiting pod runs", lambda: is_ready(plane, "p-n2"))

    play(tmp_path, story)


def test_attachment_of_somebody_else_is_adopted_and_goes_with_the_pod(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        bound = await until("the claim is bound", lambda: _bound(plane))
        volume = Volume(bound["spec"]["volumeName"], DRIVER, bound["spec"]["volumeName"])
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": {"name": volume.attachment_name("n1")},
            "spec": {"attacher": DRIVER, "nodeName": "n1", "source": {"persistentVolumeName": volume.pv}},
        }
        ours = await plane.client.post(ATTACHMENTS, body)
        await until("it is attached", lambda: has_attached(plane, volume, "n1"))
        await asyncio.sleep(0.5)
        assert await has_attached(plane, volume, "n1"), "it stays though no pod uses it"
        await run_on(plane, "n1")
        va = await attachment(plane, volume, "n1")
        assert va is not None
        assert va["metadata"]["uid"] == ours["metadata"]["uid"]
        await plane.client.delete(f"{PODS}/p-n1")
        await until("it is gone", lambda: _gone(plane, volume, "n1"))

    play(tmp_path, story)


async def _bound(plane: Plane) -> Object | None:
    item = await plane.client.get(f"{CLAIMS}/data")
    return item if item.get("status", {}).get("phase") == "Bound" else None


async def _gone(plane: Plane, volume: Volume, node: str) -> bool:
    return await attachment(plane, volume, node) is None


def test_attachment_outlives_a_storage_that_hangs_and_goes_when_it_answers(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        volume = await crash_and_force_delete(plane)
        set_faults(plane.disks, {"detach": Fault(hang=True)})
        await plane.client.delete(f"{ATTACHMENTS}/{volume.attachment_name('n1')}")
        await asyncio.sleep(0.7)
        va = await attachment(plane, volume, "n1")
        assert va is not None
        assert va["metadata"]["deletionTimestamp"]
        assert va["metadata"]["finalizers"] == [FINALIZER]
        assert plane.store.holder(volume.handle) == "n1"
        set_faults(plane.disks, {})
        await until("it is gone", lambda: _gone(plane, volume, "n1"))
        assert plane.store.holder(volume.handle) is None

    play(tmp_path, story)


def test_a_detach_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        volume = await crash_and_force_delete(plane)
        set_faults(plane.disks, {f"detach:{volume.handle}": Fault(fail="the array is on fire")})
        await plane.client.delete(f"{ATTACHMENTS}/{volume.attachment_name('n1')}")

        async def told() -> bool:
            va = await attachment(plane, volume, "n1")
            return va is not None and "on fire" in va["status"].get("detachError", {}).get("message", "")

        await until("the error is on the object", told)
        assert plane.store.holder(volume.handle) == "n1"
        set_faults(plane.disks, {})
        await until("it is gone", lambda: _gone(plane, volume, "n1"))

    play(tmp_path, story)


def test_the_storage_refuses_a_second_node_and_says_so(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        volume = await run_on(plane, "n1")
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": {"name": volume.attachment_name("n2")},
            "spec": {"attacher": DRIVER, "nodeName": "n2", "source": {"persistentVolumeName": volume.pv}},
        }
        await plane.client.post(ATTACHMENTS, body)

        async def told() -> bool:
            va = await attachment(plane, volume, "n2")
            return va is not None and "attached to node 'n1'" in va["status"].get("attachError", {}).get("message", "")

        await until("the error is on the object", told)
        assert not await has_attached(plane, volume, "n2")
        assert plane.store.holder(volume.handle) == "n1"
        await plane.client.delete(f"{PODS}/p-n1")
        await until("the retry succeeds", lambda: has_attached(plane, volume, "n2"))
        va = await attachment(plane, volume, "n2")
        assert va is not None
        assert "attachError" not in va["status"]

    play(tmp_path, story)


def test_claim_gone_takes_volume_and_disk_with_it(tmp_path: Path) -> None:
    async def story(plane: Plane) -> None:
        volume = await run_on(plane, "n1")
        await plane.client.delete(f"{CLAIMS}/data")
        with pytest.raises(ApiError):  # still protected: a pod uses it
            await plane.client.post(CLAIMS, claim())
        await plane.client.delete(f"{PODS}/p-n1")

        async def gone() -> bool:
            return await found(plane.client, f"/api/v1/persistentvolumes/{volume.pv}") is None

        await until("the volume is gone", gone)
        assert [disk.handle for disk in plane.store.disks()] == []

    play(tmp_path, story)
