"""A server that was killed comes back with its cluster, and ends what it had begun."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hamgr_sandbox.apiserver import ApiServer, Settings, running
from hamgr_sandbox.apiserver.journal import BadJournal, Journal
from hamgr_sandbox.apiserver.storage import Storage

PODS = "/api/v1/namespaces/default/pods"
SETS = "/apis/apps/v1/namespaces/default/replicasets"


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "spec": {"containers": [{"name": "c", "image": "x"}]}}


def test_objects_revisions_and_unfinished_work_survive(tmp_path: Path) -> None:
    settings = Settings(journal=tmp_path / "journal")

    async def first_life() -> dict[str, Any]:
        async with running(ApiServer(settings)) as (url,), aiohttp.ClientSession() as session:
            service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
            async with session.post(f"{url}/api/v1/namespaces/default/services", json=service) as response:
                made: dict[str, Any] = await response.json()
            await (await session.post(f"{url}{PODS}", json=pod("kept"))).read()
            await (await session.post(f"{url}{PODS}", json=pod("dropped"))).read()
            await (await session.delete(f"{url}{PODS}/dropped")).read()
            return made

    service = asyncio.run(first_life())
    # The owner of this one is gone, but the collector died before it could act.
    storage = Storage()
    assert Journal(settings.journal or tmp_path).restore(storage)
    left = storage.get("/pods", ("default", "kept"))
    assert left is not None
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "x"}
    orphan = {**left, "metadata": {**left["metadata"], "name": "orphan", "uid": "y", "ownerReferences": [owner]}}
    journal = Journal(settings.journal or tmp_path)
    journal.follow(storage)
    storage.put("/pods", ("default", "orphan"), orphan)
    journal.close()

    async def second_life() -> None:
        server = ApiServer(settings)
        async with running(server) as (url,), aiohttp.ClientSession() as session:
            async with session.get(f"{url}/api/v1/namespaces/default/services/s") as response:
                assert await response.json() == service
            assert service["spec"]["clusterIP"] in server.registry.allocations.addresses
            old = service["metadata"]["resourceVersion"]
            async with session.get(f"{url}{PODS}?watch=1&timeoutSeconds=5&resourceVersion={old}") as response:
                assert b'"code":410' in await response.content.readline()
            for _ in range(500):
                names = [one["metadata"]["name"] for one in server.storage.items("/pods")]
                if names == ["kept"]:
                    break
                await asyncio.sleep(0.01)
            assert names == ["kept"]
            async with session.post(f"{url}{PODS}", json=pod("new")) as response:
                made = await response.json()
            assert int(made["metadata"]["resourceVersion"]) > storage.revision

    asyncio.run(second_life())


def test_a_line_cut_short_is_dropped_and_nonsense_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    storage = Storage()
    journal = Journal(path)
    journal.follow(storage)
    for i in range(3):
        storage.put("/x", ("", f"o{i}"), {"metadata": {"name": f"o{i}"}})
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    again = Storage()
    assert Journal(path).restore(again)
    assert [one["metadata"]["name"] for one in again.items("/x")] == ["o0", "o1"]
    path.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(BadJournal, match="line 1"):
        Journal(path).restore(Storage())
