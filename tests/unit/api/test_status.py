"""The status document survives its own JSON, and a reader of another version."""

import json

import pytest

from hamgr.api.status import (
    SCHEMA,
    FailedAction,
    FenceStatus,
    FenceStep,
    NodeStatus,
    ResourceStatus,
    StatusDoc,
    TransitionStatus,
    complete,
)

DOC = StatusDoc(
    cluster="shop",
    leader="n1",
    token=17,
    quorum=True,
    nodes=(NodeStatus("n1", online=True, attributes={"rack": "a"}), NodeStatus("n2", unclean=True)),
    resources=(
        ResourceStatus(
            "web",
            kind="clone",
            children=(
                ResourceStatus("db", kind="group", children=(ResourceStatus("disk", role="Started", nodes=("n1",)),)),
            ),
        ),
    ),
    failed=(FailedAction("disk", "monitor", "n1", interval_ms=5000, rc=7),),
    fencing=(FenceStatus("f1", "n2", steps=(FenceStep("intent", 0.0), FenceStep("detached", 1.5, "gone"))),),
    transition=TransitionStatus(4, total=7, running=("disk_start_0 n1",)),
    warnings=("look here",),
)


def test_round_trip_keeps_every_nested_document():
    assert StatusDoc.from_json(DOC.to_json()) == DOC


def test_defaults_are_left_out_of_what_is_stored_and_present_in_what_is_printed():
    stored = json.loads(StatusDoc("shop").to_json())
    assert stored == {"cluster": "shop"}
    printed = complete(StatusDoc("shop"))
    assert printed["nodes"] == []
    assert printed["quorum"] is False
    assert printed["transition"] is None


def test_a_reader_of_another_version_skips_what_it_does_not_know():
    text = '{"cluster": "shop", "invented": 1, "nodes": [{"name": "n1", "mood": "fine"}]}'
    assert StatusDoc.from_json(text) == StatusDoc("shop", nodes=(NodeStatus("n1"),))


@pytest.mark.parametrize("text", ["[]", "{}", '{"cluster": "c", "nodes": [1]}', '{"cluster": "c", "nodes": [{}]}', "{"])
def test_what_is_no_status_document_is_a_value_error(text):
    with pytest.raises(ValueError):
        StatusDoc.from_json(text)


def test_a_document_of_a_newer_schema_is_refused() -> None:
    with pytest.raises(ValueError, match=rf"of schema {SCHEMA + 1}, and this hamgr knows {SCHEMA}: use the `hamgr` of"):
        StatusDoc.from_value({"cluster": "shop", "schema": SCHEMA + 1})
