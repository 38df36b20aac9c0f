"""The stand-in answers what a real kube-apiserver 1.36 was recorded to answer.

Every recorded request is sent, in order, with the placeholders (uid, resourceVersion, continue) filled in from what the
server said before. Where a real cluster's controllers, scheduler or kubelet changed an object between two recorded
requests, the replay plays their part (PARTS). Each remaining difference is in DEVIATIONS with its reason; an entry
that no longer differs fails the test, and so does a difference that is not listed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hamgr_sandbox.apiserver import ApiServer, running

TRANSCRIPTS = Path(__file__).resolve().parents[5] / "shared" / "kubernetes" / "transcripts-1.36.jsonl"

Obj = dict[str, Any]

# (case, step) -> the places that differ, each with the reason. A place is a path in the answer; a prefix covers all
# that is below it.
NOT_STORED = "a group that nothing in the sandbox or in hamgr uses"
NO_STREAMS = "streams into containers and proxies to nodes are not offered"
GO_DIFF = "after the same sentence a real server prints a Go diff of its internal type; here the changed fields"
OWN_WORDS = "the column is described in own words"
DEVIATIONS: dict[tuple[str, int], dict[str, str]] = {
    ("discovery", 1): {
        "body.gitVersion": "says that it is the sandbox",
        "body.gitCommit": "not built from that commit",
        "body.goVersion": "not written in Go",
        "body.compiler": "not written in Go",
    },
    ("discovery", 3): {
        "body.groups.admissionregistration.k8s.io": NOT_STORED,
        "body.groups.apiregistration.k8s.io": NOT_STORED,
        "body.groups.autoscaling.versions": "HorizontalPodAutoscaler v2 alone, no v1",
        "body.groups.certificates.k8s.io": NOT_STORED,
        "body.groups.node.k8s.io": NOT_STORED,
        "body.groups.resource.k8s.io": NOT_STORED,
    },
    ("discovery", 4): {
        "body.resources.componentstatuses": "deprecated, and there are no components to ask",
        "body.resources.nodes/proxy": NO_STREAMS,
        "body.resources.pods/attach": NO_STREAMS,
        "body.resources.pods/ephemeralcontainers": "the node agents run no ephemeral containers",
        "body.resources.pods/exec": NO_STREAMS,
        "body.resources.pods/portforward": NO_STREAMS,
        "body.resources.pods/proxy": NO_STREAMS,
        "body.resources.pods/resize": "the node agents do not resize",
        "body.resources.services/proxy": NO_STREAMS,
    },
    ("patch-types", 9): {"body.details.causes[0].message": GO_DIFF, "body.message": GO_DIFF},
    ("pod-delete-unscheduled", 3): {"body.details.causes[0].message": GO_DIFF, "body.message": GO_DIFF},
    ("table", 1): {f"body.columnDefinitions[{i}].description": OWN_WORDS for i in range(3, 9)},
}

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

# A recorded watch ran beside the steps of its case; it began before this step.
WATCH_BEGINS = {
    ("pod-graceful-delete", 8): 1,
    ("finalizers", 6): 3,
    ("volumeattachment", 9): 2,
    ("watch", 5): 2,
    ("watch", 10): 6,
    ("watch", 11): 11,
    ("watch", 12): 12,
    ("watch", 13): 13,
}

PODS = "/api/v1/namespaces/transcript/pods"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/transcript/endpointslices"


@dataclass
class RunningWatch:
    code: int = 0
    events: list[Obj] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class Replay:
    """One replay against one server."""

    def __init__(self, session: aiohttp.ClientSession, url: str, records: list[Obj]) -> None:
        self.session = session
        self.url = url
        self.records = records
        self.continue_token = ""
        self.list_revision = ""
        self.differences: dict[tuple[str, int], list[str]] = {}
        self.watches: dict[tuple[str, int], RunningWatch] = {}

    async def send(
        self, method: str, path: str, body: Any = None, content_type: str = "", accept: str = ""
    ) -> tuple[int, Any]:
        headers = {"Content-Type": content_type or "application/json", "Accept": accept or "application/json"}
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=headers) as response:
            text = await response.text()
            try:
                return response.status, json.loads(text)
            except ValueError:
                return response.status, text

    async def current(self, path: str) -> Obj:
        code, body = await self.send("GET", path.partition("?")[0].removesuffix("/status"))
        return body["metadata"] if code == 200 else {}

    async def filled(self, request: Obj, code: int) -> Any:
        """The body with its placeholders filled: those of a refused request are meant to be wrong."""
        text = json.dumps(request.get("body"))
        if "<uid>" in text or "<rv>" in text:
            wrong = code in (409, 422)
            known = await self.current(request["path"])
            uid = "00000000-0000-4000-8000-000000000000" if wrong and '"resourceVersion"' not in text else known["uid"]
            text = text.replace("<uid>", uid).replace('"<rv>"', '"1"' if wrong else f'"{known["resourceVersion"]}"')
        if found := re.search(r"kube-api-access-\w{5}", text):
            pod = (await self.send("GET", request["path"]))[1]
            text = text.replace(found.group(), pod["spec"]["volumes"][0]["name"])
        return json.loads(text.replace("<time>", "2026-01-01T00:00:00.000000Z"))

    async def run(self) -> None:
        for record in self.records:
            where = (record["case"], record["step"])
            for (case, step), begin in WATCH_BEGINS.items():
                if (case, begin) == where:
                    await self.begin_watch((case, step))
            if where in PARTS:
                await PARTS[where](self)
            if "request" in record:
                await self.step(where, record)
            else:
                await self.end_watch(where, record)

    async def step(self, where: tuple[str, int], record: Obj) -> None:
        request, expected = record["request"], record["response"]
        path = request["path"].replace("<continue>", quote(self.continue_token))
        body = await self.filled(request, expected["code"])
        accept = TABLE if where[0] == "table" else ""
        code, answer = await self.send(request["method"], path, body, request.get("contentType", ""), accept)
        if where == ("paging", 1):
            self.continue_token = answer["metadata"]["continue"]
        if where == ("watch", 1):
            self.list_revision = answer["metadata"]["resourceVersion"]
        self.compare(where, expected, {"code": code, "body": answer})

    async def begin_watch(self, where: tuple[str, int]) -> None:
        path = self.recorded(*where)["watch"]["path"].replace("2395", self.list_revision or "2395")
        path = re.sub(r"timeoutSeconds=\d+", "timeoutSeconds=3", path)
        watch = self.watches[where] = RunningWatch()
        opened = asyncio.Event()

        async def follow() -> None:
            async with self.session.get(self.url + path) as response:
                watch.code = response.status
                opened.set()
                async for line in response.content:
                    watch.events.append(json.loads(line))

        watch.task = asyncio.create_task(follow())
        await opened.wait()

    async def end_watch(self, where: tuple[str, int], record: Obj) -> None:
        """Wait for the recorded events, and a moment longer for any that should not come."""
        watch = self.watches[where]
        assert watch.task is not None
        for _ in range(300):
            if watch.task.done() or len(watch.events) >= len(record["events"]):
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        watch.task.cancel()
        expected = {"code": record["code"], "events": record["events"]}
        self.compare(where, expected, {"code": watch.code, "events": watch.events})

    def compare(self, where: tuple[str, int], expected: Any, found: Any) -> None:
        differences = list(differing(normal(expected), normal(found), ""))
        if differences:
            self.differences[where] = differences

    def recorded(self, case: str, step: int) -> Obj:
        return next(one for one in self.records if (one["case"], one["step"]) == (case, step))


def normal(value: Any, key: str = "") -> Any:
    """An answer without what differs from run to run."""
    if isinstance(value, dict):
        return {name: normal(one, name) for name, one in value.items() if name != "managedFields"}  # recorded without
    if isinstance(value, list):
        if key in ("groups", "resources"):  # discovery: by name, so that a difference is told for each
            return {one["name"]: normal(one) for one in value}
        return [normal(one, key) for one in value]
    if not isinstance(value, str):
        return value
    if key in ("uid", "resourceVersion", "continue", "serverAddress", "clusterIP", "clusterIPs"):
        return f"<{key}>"
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>", value)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uid>", text)
    text = re.sub(r"kube-api-access-\w{5}", "kube-api-access-<>", text)
    text = re.sub(r"current: \d+", "current: <>", text)
    return re.sub(r"too old resource version: 1 \(\d+\)", "too old resource version: 1 (<>)", text)


def differing(expected: Any, found: Any, path: str) -> list[str]:
    """The paths at which two answers differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = sorted({*expected, *found})
        absent = object()
        return [
            one
            for key in keys
            for one in differing(expected.get(key, absent), found.get(key, absent), f"{path}.{key}" if path else key)
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [one for i, (a, b) in pairs for one in differing(a, b, f"{path}[{i}]")]
    return [] if expected == found and type(expected) is type(found) else [path]


async def run_pod_b(replay: Replay) -> None:
    """The scheduler binds pod b, and the kubelet of its node runs it."""
    body = replay.recorded("watch", 1)["response"]["body"]["items"][0]
    target = {"kind": "Node", "name": body["spec"]["nodeName"]}
    await replay.send("POST", f"{PODS}/b/binding", {"target": target})
    status = json.loads(json.dumps(body["status"]).replace("<time>", "2026-01-01T00:00:00Z"))
    await replay.send("PATCH", f"{PODS}/b/status", {"status": status}, "application/merge-patch+json")


async def adopt_node(replay: Replay) -> None:
    """The node controllers give the node its pod network, and take the taint of new nodes away."""
    patch = {
        "metadata": {"annotations": {"node.alpha.kubernetes.io/ttl": "0"}},
        "spec": {"podCIDR": "10.244.3.0/24", "podCIDRs": ["10.244.3.0/24"], "taints": None},
    }
    await replay.send("PATCH", "/api/v1/nodes/fake-node", patch, "application/merge-patch+json")


async def create_paged_pods(replay: Replay) -> None:
    """The recording created these between its cases."""
    for item in replay.recorded("paging", 3)["response"]["body"]["items"][1:]:
        container = {"name": "c", "image": item["spec"]["containers"][0]["image"]}
        spec = {"containers": [container], "schedulingGates": item["spec"]["schedulingGates"]}
        metadata = {"name": item["metadata"]["name"], "labels": item["metadata"]["labels"]}
        await replay.send("POST", PODS, {"metadata": metadata, "spec": spec})


async def fill_slice(replay: Replay) -> None:
    """The EndpointSlice controller makes the Service's slice, and adds the pod."""
    recorded = replay.recorded("services-endpoints", 4)["response"]["body"]["items"][0]
    metadata = {k: v for k, v in recorded["metadata"].items() if k in ("name", "generateName", "labels")}
    owner = {**recorded["metadata"]["ownerReferences"][0], "uid": (await replay.current(SERVICE))["uid"]}
    body = {"metadata": {**metadata, "ownerReferences": [owner]}, "addressType": "IPv4"}
    await replay.send("POST", SLICES, body)
    patch = {"endpoints": recorded["endpoints"], "ports": recorded["ports"]}
    await replay.send("PATCH", f"{SLICES}/{metadata['name']}", patch, "application/merge-patch+json")


async def empty_slice(replay: Replay) -> None:
    """The EndpointSlice controller takes the deleted pod out."""
    name = replay.recorded("services-endpoints", 4)["response"]["body"]["items"][0]["metadata"]["name"]
    patch = {"endpoints": None, "ports": None}
    await replay.send("PATCH", f"{SLICES}/{name}", patch, "application/merge-patch+json")


SERVICE = "/api/v1/namespaces/transcript/services/s"
PARTS: dict[tuple[str, int], Callable[[Replay], Awaitable[None]]] = {
    ("node-taints", 1): adopt_node,
    ("eviction", 1): run_pod_b,
    ("paging", 1): create_paged_pods,
    ("services-endpoints", 4): fill_slice,
    ("services-endpoints", 6): empty_slice,
}


def report(places: dict[tuple[str, int], list[str]]) -> str:
    return "\n".join(f"{where}: {path}" for where, paths in places.items() for path in paths)


@pytest.mark.skipif(not TRANSCRIPTS.exists(), reason=f"no recorded transcripts at {TRANSCRIPTS}")
def test_recorded_requests_are_answered_as_recorded() -> None:
    records = [json.loads(line) for line in TRANSCRIPTS.read_text(encoding="utf-8").splitlines()]

    async def replay() -> dict[tuple[str, int], list[str]]:
        async with running(ApiServer()) as (url,), aiohttp.ClientSession() as session:
            run = Replay(session, url, records)
            await run.run()
            return run.differences

    found = asyncio.run(replay())
    unlisted = {
        where: [path for path in paths if not any(path.startswith(place) for place in DEVIATIONS.get(where, {}))]
        for where, paths in found.items()
    }
    if text := report(unlisted):
        pytest.fail(f"differences that are not listed in DEVIATIONS:\n{text}")
    stale = {
        where: [place for place in places if not any(path.startswith(place) for path in found.get(where, []))]
        for where, places in DEVIATIONS.items()
    }
    if text := report(stale):
        pytest.fail(f"listed in DEVIATIONS, but no longer different:\n{text}")
