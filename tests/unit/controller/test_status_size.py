"""The status document always fits into etcd."""

from hamgr.api.status import StatusDoc
from hamgr.controller.status.report import bounded
from hamgr.store.values import encode


def test_a_document_that_fits_is_left_alone():
    document = {"cluster": "t", "warnings": ["x"], "nodes": [{"name": "n1"}]}
    assert bounded(document) == document


def test_long_texts_are_cut():
    cut = bounded({"cluster": "t", "failed": [{"resource": "db", "reason": "r" * 2_000_000}]})
    assert cut["failed"][0]["reason"] == "r" * 1997 + "..."


def test_what_is_still_too_much_is_left_out_and_said():
    fences = [{"id": str(n), "target": "n1", "error": "e" * 2000} for n in range(600)]
    nodes = [{"name": f"n{n}", "away": "a" * 2000} for n in range(600)]
    cut = bounded({"cluster": "t", "fencing": fences, "nodes": nodes, "warnings": ["first"]})
    assert len(encode(cut)) <= 1_000_000
    assert any("of 600 entries under fencing 5 are shown" in warning for warning in cut["warnings"])
    assert StatusDoc.from_value(cut).cluster == "t"
