"""NoExecute taints: who goes, when, who is spared, and what stands in the status of those that go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fixtures.control_plane import PODS, control_plane, found, pod, until
from hamgr_sandbox.client import Informer, Object
from hamgr_sandbox.controllers import objects

TAINT = {"key": "maintenance", "effect": "NoExecute"}


def tolerating(seconds: int | None = None) -> list[Object]:
    limit = {} if seconds is None else {"tolerationSeconds": seconds}
    return [{"key": "maintenance", "operator": "Exists", "effect": "NoExecute", **limit}]


def test_pods_leave_a_tainted_node_as_their_tolerations_say(tmp_path: Path) -> None:
    asyncio.run(_play(tmp_path))


async def _play(tmp_path: Path) -> None:
    seen: dict[str, Object] = {}

    def remember(_: str, item: Object, __: Any) -> None:
        if objects.condition(item, "DisruptionTarget"):
            seen[item["metadata"]["name"]] = objects.condition(item, "DisruptionTarget")

    async with control_plane(tmp_path) as plane:
        watching = asyncio.create_task(Informer(plane.client, PODS, on_event=remember).run())
        await plane.node("n1")
        for name, tolerations in (
            ("none", []),
            ("short", tolerating(1)),
            ("long", tolerating(1000)),
            ("ever", tolerating()),
        ):
            await plane.client.post(PODS, pod(name, nodeName="n1", tolerations=tolerations))
        for name in ("none", "short", "long", "ever"):
            await until(f"{name} is ready", lambda name=name: _ready(plane.client, name))
        await plane.client.patch("/api/v1/nodes/n1", {"spec": {"taints": [TAINT]}})
        await until("the intolerant pod is gone", lambda: _gone(plane.client, "none"))
        await until("the patient pod is gone", lambda: _gone(plane.client, "short"))
        await plane.client.patch("/api/v1/nodes/n1", {"spec": {"taints": None}})
        await until("the long one is spared", lambda: _told(plane.client, "Cancelling deletion of Pod default/long"))
        for name in ("long", "ever"):
            item = await plane.client.get(f"{PODS}/{name}")
            assert not objects.is_terminating(item)
        watching.cancel()
    assert list(seen) == ["none", "short"], "in this order"
    for condition in seen.values():
        assert (condition["status"], condition["reason"], condition["message"]) == (
            "True",
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
        )


async def _ready(client: Any, name: str) -> bool:
    return objects.is_true(await client.get(f"{PODS}/{name}"), "Ready")


async def _gone(client: Any, name: str) -> bool:
    return await found(client, f"{PODS}/{name}") is None


async def _told(client: Any, message: str) -> bool:
    events = (await client.list("/api/v1/namespaces/default/events"))["items"]
    return any(event["message"] == message for event in events)
