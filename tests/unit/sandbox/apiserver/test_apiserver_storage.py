"""The storage: revisions, the bounded history, followers."""

from __future__ import annotations

import asyncio

import pytest
from hamgr_sandbox.apiserver.storage import Storage, TooOld
from hypothesis import given
from hypothesis import strategies as st


def put(storage: Storage, name: str, value: int) -> int:
    stored = storage.put("/x", ("ns", name), {"metadata": {"name": name}, "value": value})
    return int(stored["metadata"]["resourceVersion"])


def state(items: list[tuple[tuple[str, str], dict]]) -> dict[str, int]:
    return {key[1]: obj["value"] for key, obj in items}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9)), max_size=30))
def test_a_snapshot_is_the_state_at_its_revision(changes: list[tuple[str, int | None]]) -> None:
    storage = Storage()
    model: dict[str, int] = {}
    history = [(storage.revision, {})]
    for name, value in changes:
        if value is not None:
            put(storage, name, value)
            model[name] = value
        elif name in model:
            storage.remove("/x", ("ns", name))
            del model[name]
        history.append((storage.revision, dict(model)))
    for revision, expected in history:
        assert state(storage.snapshot("/x", revision)) == expected


def test_history_is_bounded_and_says_so() -> None:
    storage = Storage(window=4)
    first = put(storage, "a", 0)
    for i in range(20):
        put(storage, "a", i)
    with pytest.raises(TooOld) as error:
        storage.snapshot("/x", first)
    assert error.value.asked == first
    assert error.value.floor > first
    with pytest.raises(TooOld):
        storage.follow("/x", first)
    assert state(storage.snapshot("/x", storage.revision - 3)) == {"a": 16}


def test_a_follower_sees_every_change_once_and_in_order() -> None:
    async def run() -> list[tuple[int, bool]]:
        storage = Storage()
        since = put(storage, "a", 0)
        put(storage, "a", 1)
        follower = storage.follow("/x", since)
        seen = await follower.next(1)
        asyncio.get_running_loop().call_soon(lambda: storage.remove("/x", ("ns", "a")))
        seen += await follower.next(10)
        assert await follower.next(0.001) == []
        return [(event.revision, event.new is None) for event in seen]

    assert asyncio.run(run()) == [(3, False), (4, True)]


def test_a_follower_that_falls_behind_the_window_is_told() -> None:
    async def run() -> None:
        storage = Storage(window=2)
        follower = storage.follow("/x", put(storage, "a", 0))
        for i in range(10):
            put(storage, "a", i)
        await follower.next(1)

    with pytest.raises(TooOld):
        asyncio.run(run())
