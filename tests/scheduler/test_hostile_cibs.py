"""Malformed and hostile CIBs end in a sentence that names the trouble, or in Pacemaker's own lenient reading.

Each case goes through the command's own `main`, because what must not happen (a traceback, a hang, a wrong exit code)
happens to a person at the command line.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamgr.cib.xml import document
from hamgr.cib.xml.document import load_xml
from hamgr.cib.xml.values import CibError
from hamgr.cli.simulate import main

CONFIG, NO_INPUT = 78, 66
DUMMY = 'class="ocf" provider="pacemaker" type="Dummy"'


def cib(
    resources: str = "", constraints: str = "", *, options: str = "", status: str = "", attributes: str = ""
) -> str:
    """A small cluster of two nodes that are online, around whatever the case is about."""
    no_fencing = '<nvpair id="o1" name="stonith-enabled" value="false"/>'
    states = "".join(
        f'<node_state id="{n}" uname="{n}" in_ccm="true" crmd="online" join="member" expected="member"/>'
        for n in ("node1", "node2")
    )
    return f"""<cib validate-with="pacemaker-3.9" have-quorum="1" dc-uuid="node1" {attributes}><configuration>
      <crm_config><cluster_property_set id="o">{no_fencing}{options}</cluster_property_set></crm_config>
      <nodes><node id="node1" uname="node1"/><node id="node2" uname="node2"/></nodes>
      <resources>{resources}</resources><constraints>{constraints}</constraints>
    </configuration><status>{states}{status}</status></cib>"""


A = f'<primitive id="A" {DUMMY}/>'
B = f'<primitive id="B" {DUMMY}/>'


@pytest.fixture
def simulate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str | bytes], tuple[int, str, str]]:
    def run(document: str | bytes) -> tuple[int, str, str]:
        path = tmp_path / "cib.xml"
        path.write_bytes(document if isinstance(document, bytes) else document.encode())
        code = main(["--output", "json", str(path)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


REFUSED = {
    "not XML": ("nodes: [a, b]\n", "not well-formed"),
    "empty": ("", "is empty"),
    "truncated": (cib(A)[:300], "not well-formed"),
    "binary": (bytes(range(256)), "not UTF-8"),
    "unknown encoding": (b'<?xml version="1.0" encoding="klingon"?><cib/>', "not well-formed"),
    "encoding of several bytes": (b'<?xml version="1.0" encoding="shift_jis"?><cib/>', "not well-formed"),
    "two roots": ("<cib/><cib/>", "not well-formed"),
    "another root": ("<crm_mon/>", "<crm_mon>"),
    "entity bomb": (
        '<!DOCTYPE cib [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><cib><configuration>&b;</configuration></cib>',
        "document type declaration",
    ),
    "external entity": (
        '<!DOCTYPE cib [<!ENTITY x SYSTEM "file:///etc/passwd">]><cib>&x;</cib>',
        "document type declaration",
    ),
    "entity bomb in UTF-16": (
        '<!DOCTYPE cib [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><cib>&b;</cib>'.encode("utf-16"),
        "not UTF-8",
    ),
    "undefined entity": ("<cib>&nothing;</cib>", "not well-formed"),
    "resource without id": (cib(f"<primitive {DUMMY}/>"), "<primitive> has no id"),
    "in which line": (
        "<cib>\n<configuration>\n<nodes><node/></nodes></configuration></cib>",
        "Line 3: <node> has no uname",
    ),
    "resource without agent": (cib('<primitive id="A" class="ocf" provider="p"/>'), '<primitive id="A"> has no type'),
    "resource id twice": (cib(A + A), '<primitive id="A">'),
    "group and member of one id": (cib(f'<group id="A">{A}</group>'), '<primitive id="A">'),
    "clone of nothing": (cib('<clone id="C"/>'), '<clone id="C">'),
    "template that is none": (cib('<primitive id="A" template="T"/>'), '"T"'),
    "reference to nothing": (cib(f'<primitive id="A" {DUMMY}><meta_attributes id-ref="M"/></primitive>'), 'id-ref="M"'),
    "reference in a circle": (
        cib(
            f'<primitive id="A" {DUMMY}><meta_attributes id="M"><rule id="R"><rule id-ref="R"/></rule>'
            "</meta_attributes></primitive>"
        ),
        "R",
    ),
}


@pytest.mark.parametrize(("document", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_the_element_named(simulate: Any, document: str | bytes, named: str) -> None:
    code, out, err = simulate(document)
    assert code == CONFIG
    assert out == ""
    assert named in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


LENIENT = {
    "score that is none": cib(A, '<rsc_location id="l" rsc="A" node="node1" score="very much"/>'),
    "huge score": cib(A, f'<rsc_location id="l" rsc="A" node="node1" score="{"9" * 400}"/>'),
    "constraint on nothing": cib(A, '<rsc_colocation id="c" rsc="A" with-rsc="gone" score="INFINITY"/>'),
    "order on nothing": cib(A, '<rsc_order id="c" first="gone" then="A"/>'),
    "order on itself": cib(A, '<rsc_order id="c" first="A" then="A"/>'),
    "constraint without ends": cib(A, '<rsc_colocation id="c"/><rsc_order id="d"/><rsc_location id="e"/>'),
    "location on an unknown node": cib(A, '<rsc_location id="l" rsc="A" node="gone" score="10"/>'),
    "orders in a circle": cib(A + B, '<rsc_order id="c" first="A" then="B"/><rsc_order id="d" first="B" then="A"/>'),
    "colocated in a circle": cib(
        A + B,
        '<rsc_colocation id="c" rsc="A" with-rsc="B" score="INFINITY"/>'
        '<rsc_colocation id="d" rsc="B" with-rsc="A" score="INFINITY"/>',
    ),
    "bad pattern": cib(A, '<rsc_location id="l" rsc-pattern="((" node="node1" score="10"/>'),
    "unknown elements": cib(A + '<saxophone id="S"/>', '<rsc_wish id="w"/>', attributes='tempo="presto"'),
    "option values that are none": cib(
        A,
        options='<nvpair id="o2" name="no-quorum-policy" value="pray"/>'
        '<nvpair id="o3" name="placement-strategy" value="feng-shui"/>'
        '<nvpair id="o4" name="symmetric-cluster" value="perhaps"/>',
    ),
    "meta values that are none": cib(
        f'<clone id="C"><meta_attributes id="m"><nvpair id="m1" name="clone-max" value="lots"/>'
        f'<nvpair id="m2" name="target-role" value="Sleeping"/></meta_attributes>{A}</clone>'
    ),
    "operation without a name": cib(
        f'<primitive id="A" {DUMMY}><operations><op id="x" interval="ten"/></operations></primitive>'
    ),
    "nvpairs without names": cib(
        f'<primitive id="A" {DUMMY}><meta_attributes id="m"><nvpair id="n"/></meta_attributes></primitive>'
    ),
    "history of nothing": cib(
        A,
        status='<node_state id="node3" uname="node3"><lrm><lrm_resources><lrm_resource id="A"><lrm_rsc_op id="x" '
        'operation="start" rc-code="zero" call-id="first" transition-magic="abracadabra" interval="never"/>'
        "</lrm_resource></lrm_resources></lrm></node_state>",
    ),
    "comments everywhere": cib(f'<!-- a --><group id="G"><!-- b -->{A}<!-- c --></group>'),
    "document type in a comment": cib("<!-- <!DOCTYPE cib> -->" + A),
    "nothing but a root": "<cib/>",
}


@pytest.mark.parametrize("document", LENIENT.values(), ids=LENIENT.keys())
def test_read_as_leniently_as_pacemaker_does(simulate: Any, document: str) -> None:
    code, out, err = simulate(document)
    assert code == 0, err
    answer = json.loads(out)
    expected = 0 if document == "<cib/>" else 2
    assert len(answer["revised"]["nodes"]) >= expected
    assert "Traceback" not in err


def test_deep_rules_are_refused() -> None:
    deep = '<rule id="r">' * 3000 + "</rule>" * 3000
    with pytest.raises(CibError, match="nested"):
        load_xml(cib(A, f'<rsc_location id="l" rsc="A">{deep}</rsc_location>'))


def test_unknown_elements_may_nest_as_deep_as_they_like() -> None:
    read = load_xml(cib(A + "<x>" * 20_000 + "</x>" * 20_000))
    assert [resource.id for resource in read.resources] == ["A"]


def test_a_file_beyond_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(document, "MAX_BYTES", 1000)
    path = tmp_path / "big.xml"
    path.write_text(cib(A + "<!-- " + "x" * 2000 + " -->"))
    with pytest.raises(CibError, match="limit"):
        load_xml(str(path))


def test_an_endless_file_is_read_no_further_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_BYTES", 100_000)
    with pytest.raises(CibError, match="limit"):
        load_xml(Path("/dev/zero"))


def test_a_hundred_megabytes_of_text_are_skipped() -> None:
    """Text has no meaning in a CIB: as much as the limit allows is read in bounded time and changes nothing."""
    document = cib(A).encode().replace(b"<resources>", b"<resources>" + b"x" * (100 << 20))
    started = time.process_time()
    read = load_xml(document)
    assert [resource.id for resource in read.resources] == ["A"]
    assert time.process_time() - started < 60


def test_a_missing_file_and_a_directory_are_no_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for path in (tmp_path / "none.xml", tmp_path):
        assert main([str(path)]) == NO_INPUT
        err = capsys.readouterr().err
        assert str(path) in err
        assert "Traceback" not in err


def test_many_resources_in_one_circle_end() -> None:
    """A long chain that bites its own tail must neither recurse without end nor take forever."""
    count = 400
    resources = "".join(f'<primitive id="r{i}" {DUMMY}/>' for i in range(count))
    constraints = "".join(
        f'<rsc_colocation id="c{i}" rsc="r{i}" with-rsc="r{(i + 1) % count}" score="INFINITY"/>'
        f'<rsc_order id="o{i}" first="r{i}" then="r{(i + 1) % count}"/>'
        for i in range(count)
    )
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
        file.write(cib(resources, constraints))
        file.flush()
        assert main(["--output", "json", file.name]) == 0


_MUTABLE = cib(
    f'<group id="G">{A}{B}</group><clone id="C"><primitive id="P" {DUMMY}/></clone>',
    '<rsc_location id="l" rsc="G" node="node1" score="10"/><rsc_order id="o" first="G" then="C"/>',
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, len(_MUTABLE) - 1), st.integers(0, 40), st.text('<>"=/ 1-AGC&;', max_size=6))
def test_damaged_documents_are_read_or_refused(at: int, length: int, instead: str) -> None:
    """Cut a piece out of a CIB, put noise in its place: the outcome is a model or a CibError, nothing else."""
    try:
        read = load_xml(_MUTABLE[:at] + instead + _MUTABLE[at + length :] or "<")
    except (CibError, OSError):
        return
    assert read.resources is not None
