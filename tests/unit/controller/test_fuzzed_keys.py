"""Whatever bytes stand below hamgr's prefix, the readers refuse them by name or give values of the declared types.

HAMGR_FUZZ=20000 (or `make fuzz N=20000`) tries that many.
"""

from __future__ import annotations

import json
import os
from types import MappingProxyType, SimpleNamespace
from typing import Any

from fixtures.leader_world import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamgr.api.events import Event
from hamgr.cib.typed import checked
from hamgr.fencer.history import records_of
from hamgr.store.membership import Promise, members_of
from hamgr.store.values import Entry, Snapshot, encode, entry_of

TRIES = settings(
    max_examples=int(os.environ.get("HAMGR_FUZZ", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
NAMES = st.sampled_from(
    [
        "id",
        "node",
        "agent",
        "ops",
        "levels",
        "level",
        "target",
        "outcome",
        "phase",
        "level_index",
        "attributes",
        "standing",
        "fence",
        "configured",
        "call_id",
        "transition",
        "locations",
        "nodes",
        "resources",
        "options",
        "until",
        "score",
        "self_fence",
        "ttl_s",
        "boot_id",
        "in_ccm",
        "join",
        "operation",
        "rc",
        "interval_ms",
        "reason",
        "code",
        "data",
        "started_at",
        "pods",
        "name",
        "since",
        "pid",
    ]
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6))
BYTES = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
KEYS = st.sampled_from(
    [
        "state/nodes/n1",
        "state/history/n1/db",
        "state/meta",
        "state/overrides",
        "state/x",
        "members/n1",
        "promises/n1",
        "fences/1",
    ]
)


def entry(raw: bytes, lease: int = 7) -> Entry:
    return entry_of(SimpleNamespace(value=raw, mod_revision=1, create_revision=1, lease=lease))


@TRIES
@given(BYTES)
def test_what_is_read_can_be_written_again(raw: bytes) -> None:
    found = entry(raw)
    assert found.malformed or json.loads(encode(found.value)) == found.value


@TRIES
@given(st.dictionaries(KEYS, BYTES, max_size=5))
def test_a_leader_takes_over_whatever_is_there(raws: dict[str, bytes]) -> None:
    entries = {key: entry(raw) for key, raw in raws.items()}
    snapshot = Snapshot("", 1, MappingProxyType(entries))
    for member in members_of(snapshot).values():
        checked(member)
    for record in records_of(snapshot):
        assert record.level
    for value in entries.values():
        checked(Event.from_value(value.value))
        try:
            checked(Promise.from_json(value.value))
        except ValueError:
            pass
    world = World()
    world.etcd.values.update({key: found.value for key, found in entries.items() if key.startswith("state/")})
    world.lead()
    world.settle()
    _published(world)


def _published(world: World) -> Any:
    for state in world.leader.cib().node_states:
        checked(state)
