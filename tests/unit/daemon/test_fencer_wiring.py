"""What hamgrd gives its fencer to ask etcd with: an answer that does not come is never taken for a proof."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from hamgr.daemon.settings import FenceAgentsSection
from hamgr.daemon.wiring import _FencerFactory
from hamgr.fencer.machine import Isolation
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import FenceRecord, Target
from hamgr.fencer.runner import Run
from hamgr.fencer.topology import FencingConfig, Level, LevelConfig
from hamgr.store.errors import StoreUnavailable
from hamgr.store.membership import MemberInfo
from hamgr.store.values import Entry

PROMISE = {"self_fence": 4.0, "ttl_s": 5.0, "boot_id": "b1"}
RECORD = FenceRecord(
    id="1",
    target=Target("n1", self_fence_s=4.0, member_ttl_s=5.0, boot_id="b1"),
    reason=reason("node-lost", node="n1"),
    requested_by="n2",
    levels=(LevelConfig(Level.WATCHDOG),),
    started_at=1.0,
)


class ScriptedStore:
    """Answers from a table; a key that is listed as silent gets no answer."""

    def __init__(self, values: dict[str, Any], silent: tuple[str, ...] = ()) -> None:
        self.values, self.silent = values, silent

    def get(self, key: str, **_: object) -> Entry | None:
        if key in self.silent:
            raise StoreUnavailable("no member of etcd answers")
        return Entry(self.values[key], 1, 1) if key in self.values else None


def looked(store: ScriptedStore) -> Isolation:
    """What level watchdog finds out about n1, whose member lease the watch saw go long ago."""
    sight = SimpleNamespace(kube=SimpleNamespace(behind=lambda _gate: None), cache=SimpleNamespace())
    factory = _FencerFactory(
        SimpleNamespace(cluster="t", node="n2", fence_agents=FenceAgentsSection()), store, sight, None
    )  # type: ignore[arg-type]
    fencer = factory(
        FencingConfig(),
        SimpleNamespace(confirmed=lambda: True),  # type: ignore[arg-type]
        lambda _record: None,
        lambda _node: 99.0,
        lambda _node, _s: False,
        lambda _asked, wanted_s: wanted_s,
    )
    try:
        means = Run(fencer._around, RECORD)._means
        assert means is not None
        found = means.look(RECORD)
        assert found is not None
        return found
    finally:
        fencer.close()


def test_a_node_that_is_gone_and_whose_promise_stands_has_fenced_itself() -> None:
    found = looked(ScriptedStore({"promises/n1": PROMISE}))
    assert found.proof is not None
    assert found.proof.kind == "self-fenced"


def test_a_member_key_that_could_not_be_read_is_not_gone() -> None:
    """The node may be back, with what it runs: an error of etcd read as its absence would prove it off."""
    found = looked(ScriptedStore({"promises/n1": PROMISE}, silent=("members/n1",)))
    assert (found.proof, found.waiting) == (None, reason("node-alive", node="n1"))


def test_a_node_that_is_back_though_the_watch_has_not_told_yet_is_alive() -> None:
    member = asdict(MemberInfo("n1", "b2"))
    found = looked(ScriptedStore({"promises/n1": PROMISE, "members/n1": member}))
    assert (found.proof, found.waiting) == (None, reason("node-alive", node="n1"))


@pytest.mark.parametrize(
    "store",
    [
        ScriptedStore({}),
        ScriptedStore({"promises/n1": PROMISE | {"self_fence": 9.0}}),
        ScriptedStore({"promises/n1": "garbage"}),
        ScriptedStore({"promises/n1": PROMISE}, silent=("promises/n1",)),
    ],
    ids=["taken back", "later than it was", "unreadable", "not answered"],
)
def test_the_promise_is_asked_again_when_the_time_is_over(store: ScriptedStore) -> None:
    """The node may have been back in between, and have promised less."""
    found = looked(store)
    assert (found.proof, found.failure) == (None, reason("promise-gone", node="n1"))
