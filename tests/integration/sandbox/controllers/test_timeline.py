"""The controllers tell the same story as a real Kubernetes 1.36 did, object by object, mark by mark."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from fixtures.control_plane import PODS, Plane, claim, control_plane, found, pod_spec, until
from hamgr_sandbox.client import Client, Informer, Object
from hamgr_sandbox.controllers import objects

RECORDED = Path(__file__).parents[5] / "shared" / "kubernetes" / "timelines-1.36.jsonl"
SOURCES = {"attachdetach-controller", "node-controller", "taint-eviction-controller"}
UNREACHABLE = "node.kubernetes.io/unreachable"
CONTROLLER_KEYS = {UNREACHABLE, "node.kubernetes.io/not-ready"}

Story = dict[str, list[str]]  # stream (an object or a kind of event) -> what happened, in order


class EventRecorder:
    """Turns watch events into short sentences about what changed, stream by stream."""

    def __init__(self) -> None:
        self.streams: Story = {}
        self._last: dict[tuple[str, str], dict[str, Any]] = {}

    def begin(self) -> None:
        """A new chapter: what was said is forgotten, what was seen is not."""
        self.streams = {}

    def endpoints(self) -> list[dict[str, bool]]:
        """The conditions of the endpoints in the slice that was seen last."""
        slices = [state for (kind, _), state in self._last.items() if kind == "EndpointSlice"]
        return slices[-1]["endpoints"] if slices else []

    def see(self, event: str, item: Object) -> None:
        teller = {"VolumeAttachment": _attachment, "Node": _node, "EndpointSlice": _slice}.get(item["kind"])
        if teller is not None:
            key = (item["kind"], item["metadata"]["name"])
            state = teller(item) if event != "DELETED" else {"gone": True}
            if item["kind"] == "EndpointSlice" and event == "DELETED":
                return
            stream = "slice" if item["kind"] == "EndpointSlice" else f"{item['kind']} {_place(item)}"
            self._differences(stream, self._last.get(key, {}), state)
            self._last[key] = {} if event == "DELETED" else state
        elif item["kind"] == "Event" and event == "ADDED" and _source(item) in SOURCES:
            about = (
                item["involvedObject"] if isinstance(item["involvedObject"], str) else item["involvedObject"]["kind"]
            )
            text = re.sub(r"mariadb-\w+-\w+", "POD", item["message"])
            text = re.sub(r"pvc-[\w-]+|pv1", "PV", text)
            self._say(f"events on {about}", f"{item['reason']}: {text}")

    def _differences(self, stream: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        for name, value in after.items():
            if before.get(name) != value and not (name not in before and value in (False, [], None)):
                # When a kubelet reports is its own affair: its words are compared each for themselves.
                own = f"{stream}: {name}" if stream.startswith("Node") else stream
                self._say(own, f"{name}={json.dumps(value)}")

    def _say(self, stream: str, sentence: str) -> None:
        self.streams.setdefault(stream, []).append(sentence)


def _place(item: Object) -> str:
    return str(item["spec"]["nodeName"] if item["kind"] == "VolumeAttachment" else item["metadata"]["name"])


def _source(event: Object) -> str:
    source = event["source"]
    return str(source if isinstance(source, str) else source.get("component", ""))


def _attachment(item: Object) -> dict[str, Any]:
    return {
        "there": True,
        "finalizer": bool(item["metadata"].get("finalizers")),
        "attached": item.get("status", {}).get("attached", False),
        "deleting": "deletionTimestamp" in item["metadata"],
    }


def _node(item: Object) -> dict[str, Any]:
    taints = [taint for taint in objects.taints(item) if taint["key"] == UNREACHABLE]
    return {
        "ready": objects.condition(item, "Ready").get("status") if objects.condition(item, "Ready") else None,
        "taints": sorted(taint["effect"] for taint in taints),
        "in use": len(item["status"].get("volumesInUse") or []),
        "attached": len(item["status"].get("volumesAttached") or []),
    }


def _slice(item: Object) -> dict[str, Any]:
    return {"endpoints": [endpoint["conditions"] for endpoint in item.get("endpoints") or []]}


def recorded_chapters() -> dict[str, Story]:
    """The recorded story, one chapter a mark."""
    chronicle, chapters, name = EventRecorder(), {}, "before"
    for line in RECORDED.read_text().splitlines():
        entry = json.loads(line)
        if "mark" in entry:
            chapters[name] = chronicle.streams
            chronicle.begin()
            name = entry["mark"]
        elif entry["event"] != "ERROR":
            chronicle.see(entry["event"], entry["object"])
    return chapters


class EvidenceCollector:
    """Sees what the stand-ins do through watches of its own."""

    def __init__(self, client: Client) -> None:
        self.chronicle = EventRecorder()
        paths = (
            "/apis/storage.k8s.io/v1/volumeattachments",
            "/api/v1/nodes",
            "/api/v1/events",
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        )
        self.informers = [
            Informer(client, path, on_event=lambda kind, item, _: self.chronicle.see(kind, item)) for path in paths
        ]

    async def in_service(self) -> None:
        """Wait until clients are sent to a ready pod, which is the last thing that a chapter brings."""
        await until("a ready endpoint", lambda: any(one["ready"] for one in self.chronicle.endpoints()))

    async def tells(self, expected: Story) -> None:
        """Wait until each expected stream has been told, then compare it."""

        def complete() -> bool:
            told = self.chronicle.streams
            return all(len(told.get(stream, [])) >= len(lines) for stream, lines in expected.items())

        try:
            await until("the chapter", complete, 12.0)
        except AssertionError:
            assert self.chronicle.streams == expected
        await asyncio.sleep(0.3)  # anything more would be one thing too many
        told = {stream: lines for stream, lines in self.chronicle.streams.items() if stream in expected}
        assert told == expected
        self.chronicle.begin()


def only(chapter: Story, streams: Iterable[str]) -> Story:
    """The streams whose names begin so."""
    return {name: lines for name, lines in chapter.items() if name.startswith(tuple(streams))}


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "mariadb"},
    "spec": {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app": "mariadb"}},
        "template": {"metadata": {"labels": {"app": "mariadb"}}, "spec": pod_spec("data")},
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "mariadb"},
    "spec": {"selector": {"app": "mariadb"}, "ports": [{"port": 3306}]},
}


async def the_pod(plane: Plane, node: str) -> Object:
    """The one pod that is not being deleted, ready on that node."""

    async def ready() -> Object | None:
        pods = (await plane.client.list(PODS))["items"]
        return next((p for p in pods if objects.node_of(p) == node and objects.is_true(p, "Ready")), None)

    found_pod: Object = await until(f"a ready pod on {node}", ready)
    return found_pod


async def allow(plane: Plane, *nodes: str) -> None:
    """Where the scheduler may go next; the real one chose freely among equals."""
    for name in plane.nodes:
        await plane.client.patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": None if name in nodes else True}})


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded timeline (../shared) is not here")
def test_same_story_as_kubernetes(tmp_path: Path) -> None:
    chapters = recorded_chapters()
    asyncio.run(_play(tmp_path, chapters))


async def _play(tmp_path: Path, chapters: dict[str, Story]) -> None:
    options = ("--node-monitor-grace-period=1.5", "--node-monitor-period=0.2", "--attach-detach-poll=0.1")
    async with control_plane(tmp_path, *options) as plane:
        witness = EvidenceCollector(plane.client)
        watching = [asyncio.create_task(informer.run()) for informer in witness.informers]
        try:
            for name in ("n1", "n2", "n3"):
                await plane.node(name)
            await until("nodes are ready", lambda: _all_untainted(plane))
            witness.chronicle.begin()
            await _chapters(plane, witness, chapters)
        finally:
            for task in watching:
                task.cancel()


async def _all_untainted(plane: Plane) -> bool:
    nodes = (await plane.client.list("/api/v1/nodes"))["items"]
    return all(objects.is_true(node, "Ready") and not objects.taints(node) for node in nodes)


async def _chapters(plane: Plane, witness: EvidenceCollector, chapters: dict[str, Story]) -> None:
    client = plane.client
    names = iter(chapters)

    def chapter(start: str) -> Story:
        return next(chapters[name] for name in names if name.startswith(start))

    await allow(plane, "n1")
    await client.post("/api/v1/namespaces/default/services", SERVICE)
    await client.post("/api/v1/namespaces/default/persistentvolumeclaims", claim())
    await client.post("/apis/apps/v1/namespaces/default/deployments", DEPLOYMENT)
    await the_pod(plane, "n1")
    await witness.tells(
        only(chapter("kubectl apply"), ("VolumeAttachment n1", "events on Pod", "Node n1: attached", "Node n1: in use"))
    )

    await allow(plane, "n2")
    await client.delete(_path(await the_pod(plane, "n1")))
    await the_pod(plane, "n2")
    streams = ("VolumeAttachment n1", "VolumeAttachment n2", "events on Pod", "Node n1", "Node n2")
    await witness.tells(only(chapter("kubectl delete pod (graceful)"), streams))

    pod = await the_pod(plane, "n2")
    await client.delete(_path(pod), {"gracePeriodSeconds": 0})
    await until("another pod", lambda: _replaced(plane, pod))
    await the_pod(plane, "n2")
    story = chapter("kubectl delete pod --force")
    assert not only(story, ("VolumeAttachment n2", "events on Pod"))
    assert not [stream for stream in witness.chronicle.streams if "VolumeAttachment" in stream or "events" in stream]
    await witness.in_service()
    witness.chronicle.begin()

    await allow(plane, "n3", "n2")
    plane.nodes["n2"].crash()
    await witness.tells(only(chapter("host n2 crashes"), ("Node n2", "events on Pod", "events on Node", "slice")))

    pod = (await client.list(PODS))["items"][0]
    await client.delete(_path(pod), {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}})
    story = chapter("pod force-deleted")
    # Whether the pod's last breath (grace 0, still there) makes it into a slice is a race, in Kubernetes too.
    await until("an empty slice", lambda: witness.chronicle.streams.get("slice", [])[-1:] == story["slice"][-1:])
    await witness.tells(only(story, ["events on Pod"]))

    attachment = next(va for va in (await client.list(_ATTACHMENTS))["items"] if va["spec"]["nodeName"] == "n2")
    await client.delete(f"{_ATTACHMENTS}/{attachment['metadata']['name']}")
    await witness.tells(only(chapter("its VolumeAttachment deleted"), ("VolumeAttachment n2", "VolumeAttachment n3")))

    await client.patch("/api/v1/nodes/n2/status", {"status": {"volumesInUse": None}})
    streams = ("VolumeAttachment n3", "events on Pod", "Node n2")
    await witness.tells(only(chapter("VolumeAttachment gone"), streams))
    await the_pod(plane, "n3")
    await witness.in_service()
    witness.chronicle.begin()

    await plane.node("n2")
    await witness.tells(only(chapter("host n2 is back"), ("Node n2", "VolumeAttachment n2", "VolumeAttachment n3")))


_ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"


def _path(pod: Object) -> str:
    return f"{PODS}/{pod['metadata']['name']}"


async def _replaced(plane: Plane, pod: Object) -> bool:
    return await found(plane.client, _path(pod)) is None
