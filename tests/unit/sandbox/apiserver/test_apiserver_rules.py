"""Selectors, deletion, apply, schema and rendering: decisions, with values."""

from __future__ import annotations

from typing import Any

import pytest
from hamgr_sandbox.apiserver import apply, columns, deletion, protobuf, schema, selectors, subresources, tables
from hamgr_sandbox.apiserver.catalog import BUILT_IN
from hamgr_sandbox.apiserver.deletion import DeleteOptions
from hamgr_sandbox.apiserver.errors import ApiFailure
from hamgr_sandbox.apiserver.kinds import Kind

KINDS = {(kind.group, kind.plural): kind for kind in BUILT_IN}
PODS: Kind = KINDS["", "pods"]
ATTACHMENTS: Kind = KINDS["storage.k8s.io", "volumeattachments"]
DEPLOYMENTS: Kind = KINDS["apps", "deployments"]


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("a=1", {"a": "1"}, True),
        ("a==1,b!=2", {"a": "1"}, True),
        ("a!=1", {"a": "1"}, False),
        ("a in (1,2)", {"a": "2"}, True),
        ("a notin (1, 2)", {}, True),
        ("a notin (1, 2)", {"a": "2"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a>3", {"a": "4"}, True),
        ("a<3", {"a": "x"}, False),
        ("", {}, True),
        ("example.com/x in (y),!z", {"example.com/x": "y"}, True),
    ],
)
def test_label_selectors(text: str, labels: dict[str, str], expected: bool) -> None:
    assert selectors.parse_labels(text).matches(labels) is expected


def test_selectors_that_cannot_be_understood_are_refused() -> None:
    with pytest.raises(ApiFailure) as failure:
        selectors.parse_labels("a=1,=")
    assert failure.value.code == 400
    with pytest.raises(ApiFailure) as failure:
        selectors.parse_fields("spec.bogus=1", PODS.fields)
    assert failure.value.message == "field label not supported: spec.bogus"


def test_fields_that_are_not_set_read_as_empty() -> None:
    selector = selectors.parse_fields("spec.nodeName!=n1,spec.hostNetwork=false", PODS.fields)
    assert selector.matches({"metadata": {}, "spec": {}})
    assert not selector.matches({"metadata": {}, "spec": {"nodeName": "n1"}})


def pod(node: str = "n1", **metadata: Any) -> dict:
    spec = {"terminationGracePeriodSeconds": 30} | ({"nodeName": node} if node else {})
    meta = {"name": "p", "uid": "u", "resourceVersion": "5", "generation": 1, **metadata}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("obj", "options", "outcome", "grace"),
    [
        (pod(), DeleteOptions(), "mark", 30),
        (pod(), DeleteOptions(grace=5), "mark", 5),
        (pod(), DeleteOptions(grace=-1), "mark", 1),
        (pod(), DeleteOptions(grace=0), "remove", 0),
        (pod(node=""), DeleteOptions(grace=30), "remove", 0),
        (pod(finalizers=["x"]), DeleteOptions(grace=0), "mark", 0),
    ],
)
def test_the_first_delete_of_a_pod(obj: dict, options: DeleteOptions, outcome: str, grace: int) -> None:
    verdict = deletion.decide(PODS, obj, options)
    assert verdict.outcome == outcome
    assert verdict.obj is not None
    assert verdict.obj["metadata"]["deletionGracePeriodSeconds"] == grace
    assert verdict.obj["metadata"]["generation"] == 2
    assert "deletionTimestamp" not in obj["metadata"]


def test_a_later_delete_may_only_shorten() -> None:
    marked = pod(deletionTimestamp="2026-01-01T00:00:30Z", deletionGracePeriodSeconds=30)
    assert deletion.decide(PODS, marked, DeleteOptions()).outcome == "wait"
    assert deletion.decide(PODS, marked, DeleteOptions(grace=60)).outcome == "wait"
    shorter = deletion.decide(PODS, marked, DeleteOptions(grace=10))
    assert shorter.outcome == "mark"
    assert shorter.obj is not None
    assert shorter.obj["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:10Z"
    assert shorter.obj["metadata"]["generation"] == 1
    assert deletion.decide(PODS, marked, DeleteOptions(grace=0)).outcome == "remove"


def test_a_kind_without_grace_goes_at_once_or_waits_for_its_finalizers() -> None:
    attachment = {"metadata": {"name": "va", "uid": "u", "resourceVersion": "1"}}
    assert deletion.decide(ATTACHMENTS, attachment, DeleteOptions(grace=30)).outcome == "remove"
    attachment["metadata"]["finalizers"] = ["external-attacher/x"]
    verdict = deletion.decide(ATTACHMENTS, attachment, DeleteOptions())
    assert verdict.outcome == "mark"
    foreground = deletion.decide(ATTACHMENTS, attachment, DeleteOptions(policy="Foreground")).obj
    assert foreground is not None
    assert foreground["metadata"]["finalizers"] == ["external-attacher/x", "foregroundDeletion"]


def test_a_body_wins_over_the_query_even_where_it_is_silent() -> None:
    query = {"gracePeriodSeconds": "0"}
    assert DeleteOptions.parse({"preconditions": {"uid": "u"}}, query).grace is None
    assert DeleteOptions.parse(None, query).grace == 0
    assert DeleteOptions.parse({"orphanDependents": True}, {}).policy == "Orphan"


def test_preconditions_name_what_does_not_match() -> None:
    deletion.check_preconditions(PODS, pod(), DeleteOptions(uid="u", resource_version="5"))
    with pytest.raises(ApiFailure, match="UID in the precondition"):
        deletion.check_preconditions(PODS, pod(), DeleteOptions(uid="other"))
    with pytest.raises(ApiFailure, match="ResourceVersion in the precondition"):
        deletion.check_preconditions(PODS, pod(), DeleteOptions(resource_version="4"))


def deployment(image: str, **labels: str) -> dict:
    container = {"name": "c", "image": image, "ports": [{"containerPort": 80, "protocol": "TCP"}]}
    return {"metadata": {"labels": labels}, "spec": {"template": {"spec": {"containers": [container]}}}}


def test_apply_owns_conflicts_and_gives_up_fields() -> None:
    live = deployment("1", a="x")
    live = apply.apply(DEPLOYMENTS, live, deployment("1", b="y"), "one", "", force=False)
    assert live["metadata"]["labels"] == {"a": "x", "b": "y"}
    with pytest.raises(ApiFailure) as failure:
        apply.apply(DEPLOYMENTS, live, deployment("2"), "two", "", force=False)
    assert failure.value.code == 409
    causes = (failure.value.details or {})["causes"]
    assert {cause["field"] for cause in causes} == {'.spec.template.spec.containers[name="c"].image'}
    forced = apply.apply(DEPLOYMENTS, live, deployment("2"), "two", "", force=True)
    assert forced["spec"]["template"]["spec"]["containers"][0]["image"] == "2"
    dropped = apply.apply(DEPLOYMENTS, forced, deployment("2"), "one", "", force=False)
    assert dropped["metadata"]["labels"] == {"a": "x"}
    again = apply.apply(DEPLOYMENTS, dropped, deployment("2"), "one", "", force=False)
    assert again == dropped


def test_the_record_of_owners_survives_its_encoding() -> None:
    fields = apply.field_set(DEPLOYMENTS, deployment("1", a="x"))
    assert apply.from_fields_v1(apply.to_fields_v1(fields)) == fields
    port = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"c"}', "f:ports")
    assert (*port, 'k:{"containerPort":80,"protocol":"TCP"}') in fields


def test_unknown_fields_are_dropped_and_named() -> None:
    sent = {"spec": {"containers": [{"name": "c", "image": "x", "imagee": "y"}], "bogus": 1}}
    decoded = schema.decode("V1Pod", sent)
    assert decoded.unknown == ["spec.containers[0].imagee", "spec.bogus"]
    assert decoded.value["spec"] == {"containers": [{"name": "c", "image": "x", "resources": {}}]}


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ({"metadata": {"labels": {"a": 1}}}, "json: cannot unmarshal number into Go struct field"),
        ({"spec": {"containers": {}}}, "json: cannot unmarshal object into Go struct field PodSpec.spec.containers"),
        ({"spec": {"hostNetwork": "yes"}}, "cannot unmarshal string"),
    ],
)
def test_wrong_types_are_refused(sent: dict, text: str) -> None:
    with pytest.raises(schema.WrongType, match=text):
        schema.decode("V1Pod", sent)


def test_quantities_may_be_numbers() -> None:
    decoded = schema.decode("V1ResourceRequirements", {"limits": {"cpu": 1}})
    assert decoded.value == {"limits": {"cpu": "1"}}


def test_every_kind_has_a_model_and_what_goes_is_always_known() -> None:
    for kind in BUILT_IN:
        assert {"metadata", "kind", "apiVersion"} <= schema.fields(kind.model).keys(), kind.plural
    for model, always in schema.ALWAYS.items():
        assert always.keys() <= schema.fields(model).keys(), model


def test_protobuf_of_kubectl() -> None:
    """A namespace as kubectl writes it, with the empty strings and structs that Go never leaves out."""
    head = b"k8s\x00\n\x0f\n\x02v1\x12\tNamespace"
    body = head + b'\x12\x16\n\x10\n\x04demo\x12\x00\x1a\x00"\x00*\x002\x00\x12\x00\x1a\x00\x1a\x00'
    assert protobuf.decode(body) == {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}, "spec": {}, "status": {},
    }  # fmt: skip
    with pytest.raises(ApiFailure) as failure:
        protobuf.decode(b"k8s\x00\n\x0c\n\x02v1\x12\x06Gadget")
    assert failure.value.code == 415
    with pytest.raises(ApiFailure):
        protobuf.decode(body[:20])


def test_disruptions_allowed() -> None:
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "metadata": {}}
    down: dict = {"status": {}, "metadata": {}}
    assert subresources.disruptions_allowed({"spec": {"minAvailable": 1}}, [ready, ready]) == (1, 1, 2)
    assert subresources.disruptions_allowed({"spec": {"minAvailable": "50%"}}, [ready, ready, ready]) == (1, 2, 3)
    assert subresources.disruptions_allowed({"spec": {"maxUnavailable": 1}}, [ready, down]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (3600, "60m"), (3 * 3600, "3h"), (86400 * 3, "3d")],
)
def test_ages_read_as_kubectl_writes_them(seconds: int, text: str) -> None:
    assert columns.duration(seconds) == text


def test_the_status_word_of_a_pod() -> None:
    base = {"metadata": {}, "spec": {"containers": [{}]}, "status": {"phase": "Running"}}
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "ready": False}
    assert columns.pod_status(base) == "Running"
    assert columns.pod_status({**base, "metadata": {"deletionTimestamp": "x"}}) == "Terminating"
    assert (
        columns.pod_status({**base, "status": {"phase": "Running", "containerStatuses": [waiting]}})
        == "CrashLoopBackOff"
    )
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    assert columns.pod_status({**base, "status": {"phase": "Pending", "conditions": [gated]}}) == "SchedulingGated"


def test_one_odd_object_does_not_hide_the_others_in_a_table() -> None:
    odd = {"metadata": {"name": "odd"}, "status": {"addresses": [{"bogus": 1}], "conditions": [{}]}}
    fine = {"metadata": {"name": "fine"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    found = tables.table(KINDS["", "nodes"], [odd, fine], {}, "v1", "None")
    assert [row["cells"][:2] for row in found["rows"]] == [["odd", "<unknown>"], ["fine", "Ready"]]


def test_a_stateful_set_may_mount_the_claims_that_it_makes() -> None:
    """As the tutorial "StatefulSet Basics" does."""
    mounts = [{"name": "www", "mountPath": "/w"}]
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": mounts}]},
    }
    claims = [{"metadata": {"name": "www"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    validate = KINDS["apps", "statefulsets"].strategy.validate
    assert validate({"metadata": {"name": "web"}, "spec": spec | {"volumeClaimTemplates": claims}}) == []
    (cause,) = validate({"metadata": {"name": "web"}, "spec": spec})
    assert cause.field == "spec.template.spec.containers[0].volumeMounts[0].name"
