"""The patch formats, with values."""

from __future__ import annotations

import pytest
from hamgr_sandbox.apiserver import patching
from hamgr_sandbox.apiserver.errors import ApiFailure
from hamgr_sandbox.apiserver.schema import clone
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(max_size=2), JSON, max_size=4)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the examples of RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_the_rfc(target: dict, patch: dict, result: dict) -> None:
    before = clone(target)
    assert patching.merge_patch(target, patch) == result
    assert target == before


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_applied_twice_changes_nothing_more(target: dict, patch: dict) -> None:
    once = patching.merge_patch(target, patch)
    assert patching.merge_patch(once, patch) == once


def test_json_patch_operations_in_order() -> None:
    document = {"a": [1, 3], "b": {"x~y/z": 1}}
    operations = [
        {"op": "add", "path": "/a/1", "value": 2},
        {"op": "add", "path": "/a/-", "value": 4},
        {"op": "test", "path": "/b/x~0y~1z", "value": 1},
        {"op": "move", "from": "/b", "path": "/c"},
        {"op": "copy", "from": "/a/0", "path": "/d"},
        {"op": "replace", "path": "/d", "value": None},
        {"op": "remove", "path": "/a/0"},
    ]
    assert patching.json_patch(document, operations) == {"a": [2, 3, 4], "c": {"x~y/z": 1}, "d": None}
    assert document == {"a": [1, 3], "b": {"x~y/z": 1}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/zzz"},
        {"op": "replace", "path": "/zzz", "value": 1},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "add"},
    ],
)
def test_a_json_patch_that_does_not_apply_is_refused_whole(operation: dict) -> None:
    with pytest.raises(ApiFailure) as failure:
        patching.json_patch({"a": 1}, [{"op": "add", "path": "/x", "value": 1}, operation])
    assert failure.value.code == 422


def _pod(*containers: dict) -> dict:
    return {"spec": {"containers": list(containers)}}


def test_strategic_merge_merges_containers_by_name_and_replaces_taints() -> None:
    pod = _pod({"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "1"})
    patch = _pod({"name": "b", "image": "2"}, {"name": "a", "env": [{"name": "Y", "value": "2"}]})
    merged = patching.strategic_merge_patch(pod, patch, "V1Pod")
    assert merged == _pod(
        {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
        {"name": "b", "image": "2"},
    )
    node = {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}}
    patch = {"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}}
    assert patching.strategic_merge_patch(node, patch, "V1Node") == patch


def test_strategic_merge_directives() -> None:
    pod = _pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"})
    removed = patching.strategic_merge_patch(pod, _pod({"name": "a", "$patch": "delete"}), "V1Pod")
    assert removed == _pod({"name": "b", "image": "1"})
    replaced = patching.strategic_merge_patch(pod, _pod({"$patch": "replace"}, {"name": "c", "image": "3"}), "V1Pod")
    assert replaced == _pod({"name": "c", "image": "3"})
    order = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    assert patching.strategic_merge_patch(pod, order, "V1Pod") == _pod(
        {"name": "b", "image": "1"}, {"name": "a", "image": "1"}
    )
    meta = {"metadata": {"finalizers": ["x", "y"]}}
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}
    assert patching.strategic_merge_patch(meta, patch, "V1Pod") == {"metadata": {"finalizers": ["y"]}}
    rollout = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    merged = patching.strategic_merge_patch(rollout, patch, "V1Deployment")
    assert merged == {"spec": {"strategy": {"type": "Recreate"}}}


def test_a_strategic_merge_needs_the_key_of_a_list_item() -> None:
    with pytest.raises(ApiFailure) as failure:
        patching.strategic_merge_patch(_pod(), _pod({"image": "x"}), "V1Pod")
    assert failure.value.code == 400
    assert "merge key: name" in failure.value.message
