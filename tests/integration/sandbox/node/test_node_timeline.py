"""The states that a pod goes through, against what a real cluster recorded, where that recording is at hand."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from fixtures.node_cluster import Cluster, on_disk

Json = dict[str, Any]
RECORDED = Path(__file__).parents[5] / "shared/kubernetes/timelines-1.36.jsonl"
CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
KVAPP: Json = {
    "name": "kv",
    "image": "hamgr/kvapp:1",
    "readinessProbe": {"tcpSocket": {"port": 6380}, "periodSeconds": 1},
}


def story(pods: Iterable[Json]) -> list[tuple[Any, ...]]:
    """The different states of a pod in order, from its node's first word on; times and names left out."""
    told: list[tuple[Any, ...]] = []
    for pod in pods:
        status = pod["status"]
        if not status.get("containerStatuses"):
            continue
        conditions = {c["type"]: (c["status"], c.get("reason")) for c in status["conditions"]}
        (container,) = status["containerStatuses"]
        ((kind, details),) = container["state"].items()
        moment = (
            status["phase"],
            *(conditions[each] for each in CONDITIONS),
            (kind, details.get("reason"), details.get("exitCode")),
            bool(container.get("lastState")),
            (container["ready"], container["started"], container["restartCount"]),
        )
        if not told or told[-1] != moment:
            told.append(moment)
    return told


def recorded_story() -> list[tuple[Any, ...]]:
    """The first pod of the recording: applied, killed twice, deleted."""
    events = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    begin = next(e["t"] for e in events if "kubectl apply" in e.get("mark", ""))
    pods = [e["object"] for e in events if e["t"] > begin and e.get("object", {}).get("kind") == "Pod"]
    return story(pod for pod in pods if pod["metadata"]["name"] == pods[0]["metadata"]["name"])


class Watch:
    """Every state of a pod that the API server tells."""

    def __init__(self, url: str, name: str) -> None:
        self.pods: list[Json] = []
        path = f"/api/v1/namespaces/default/pods?watch=true&fieldSelector=metadata.name={name}"
        self._response = urllib.request.urlopen(url + path, timeout=60)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._response:
            event = json.loads(line)
            self.pods.append(event["object"])
            if event["type"] == "DELETED":
                return

    def until_deleted(self) -> list[Json]:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the watch has not told the deletion"
        return self.pods


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.exists(), reason=f"no recording at {RECORDED}")
def test_a_pod_goes_through_the_recorded_states(node: Cluster) -> None:
    """Applied, killed (restarted at once), killed again (backs off for ten seconds), deleted."""
    node.disk("d", "n1")
    watch = Watch(node.api.url, "p")
    node.create("p", on_disk("d", "/data", KVAPP))
    node.await_ready("p")
    for restarts in (1, 2):
        node.kill("p")
        node.await_status(
            "p",
            lambda s, wanted=restarts: s["containerStatuses"][0]["restartCount"] == wanted,
            f"restarted for time {restarts}",
        )
        node.await_ready("p")
    node.delete("p")
    assert story(watch.until_deleted()) == recorded_story()
