"""What a watch promises: a client that goes on from the last revision it was told misses nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hamgr_sandbox.apiserver.catalog import BUILT_IN
from hamgr_sandbox.apiserver.kinds import Catalog
from hamgr_sandbox.apiserver.registry import ListOptions, Registry
from hamgr_sandbox.apiserver.storage import Storage
from hamgr_sandbox.apiserver.watching import Watch, WatchOptions

PODS = next(kind for kind in BUILT_IN if kind.plural == "pods")


def put(storage: Storage, name: str) -> int:
    stored = storage.put("/pods", ("default", name), {"metadata": {"name": name, "namespace": "default"}})
    return int(stored["metadata"]["resourceVersion"])


def test_a_bookmark_never_passes_an_event_that_is_still_to_come() -> None:
    async def run() -> list[dict[str, Any]]:
        storage = Storage()
        registry = Registry(storage, Catalog(BUILT_IN))
        put(storage, "zero")
        select = ListOptions(resource_version=str(storage.revision))
        watch = Watch(registry, PODS, WatchOptions(select, timeout_s=60, bookmarks=True, bookmark_interval_s=0.01))
        lines = watch.lines()
        put(storage, "a")
        seen = [json.loads(await anext(lines))]
        put(storage, "b")  # while the client was slow to take the line before
        await asyncio.sleep(0.02)
        while len(seen) < 4:
            seen += [json.loads(line) for line in (await anext(lines)).splitlines()]
        await lines.aclose()
        return seen

    told = 0
    for event in asyncio.run(run()):
        revision = int(event["object"]["metadata"]["resourceVersion"])
        assert event["type"] == "BOOKMARK" or revision > told, f"{event} comes after {told} was promised"
        told = max(told, revision)


def test_a_bookmark_moves_on_with_the_writes_of_other_kinds() -> None:
    async def run() -> dict[str, Any]:
        storage = Storage()
        registry = Registry(storage, Catalog(BUILT_IN))
        select = ListOptions(resource_version=str(put(storage, "a")))
        storage.put("/nodes", ("", "n"), {"metadata": {"name": "n"}})
        watch = Watch(registry, PODS, WatchOptions(select, timeout_s=60, bookmarks=True, bookmark_interval_s=0.01))
        lines = watch.lines()
        found: dict[str, Any] = json.loads(await anext(lines))
        await lines.aclose()
        assert found["object"]["metadata"]["resourceVersion"] == str(storage.revision)
        return found

    assert asyncio.run(run())["type"] == "BOOKMARK"
