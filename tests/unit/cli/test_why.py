"""`hamgr simulate --why RESOURCE` says in sentences where a resource goes, and for each node why or why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hamgr.cib.xml.document import load_xml
from hamgr.cli.render.why import render
from hamgr.cli.simulate import main
from hamgr.scheduler.engine import run
from hamgr.scheduler.output.explain import accounts
from tests.scheduler.cibs import Case, clone, fence_device, group, primitive
from tests.scheduler.test_golden import located, order, text_of, with_

NOW = 1_767_225_600  # 2026-01-01


def why(name: str, case: Case) -> list[str]:
    """The lines that explain a resource, spaces squeezed."""
    text = render(accounts(run(load_xml(text_of(case)), NOW, explain=True), name))
    return [" ".join(line.split()) for line in text.splitlines()]


def test_each_node_has_its_score_and_what_made_it() -> None:
    case = Case(
        "",
        primitive("A", "resource-stickiness=50"),
        set(),
        located("here", "A", "n3", "100") + located("never", "A", "n2", "-INFINITY"),
        active={"A": "n1"},
    )
    assert why("A", case) == [
        "A is Started on n1. It will be moved to n3.",
        "Nodes:",
        "* n3: score 100, chosen",
        "+100 constraint here",
        "* n1: score 50",
        "+50 stickiness: it runs there",
        "* n2: score -INFINITY: not allowed",
        "-INFINITY constraint never",
    ]


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"standby": "true"}, "* n1: score 100, but it is in standby"),
        ({"maintenance": "true"}, "* n1: score 100, but it is in maintenance"),
        ({"shutdown": "1600000000"}, "* n1: score 100, but it is shutting down"),
    ],
)
def test_a_node_that_takes_nothing_says_so(attributes: dict[str, str], said: str) -> None:
    case = Case("", primitive("A"), set(), located("here", "A", "n1", "100"), attributes={"n1": attributes})
    assert said in why("A", case)


def test_a_lost_node_is_told_with_what_has_to_be_done_about_it() -> None:
    case = Case(
        "",
        fence_device() + primitive("A"),
        set(),
        options={"stonith-enabled": "true"},
        active={"A": "n3", "fencer": "n1"},
        lost=("n3",),
    )
    told = why("A", case)
    assert told[0] == "A is Started on n3. It will be moved to n2."
    assert "* Node n3 has to be fenced: peer is no longer part of the cluster." in told
    assert any(line.startswith("* n3: score") and line.endswith("it has to be fenced") for line in told)


def test_failures_that_forbid_a_node() -> None:
    case = Case(
        "",
        primitive("A", "migration-threshold=1", "monitor,10s"),
        set(),
        active={"A": "n1"},
        ops=(("n1", "A", "monitor", 10000, 7),),
        attributes={"n1": {"fail-count-A#monitor_10000": "1", "last-failure-A#monitor_10000": "1600000000"}},
    )
    told = why("A", case)
    assert told[0] == "A is Started on n1. It will be recovered on n2."
    assert "* Its monitor (every 10 s) failed on n1 (exit code 7); it is recovered." in told
    assert "-INFINITY it has failed there as often as migration-threshold allows (then: hamgr cleanup)" in told


def test_company_wanted_and_unwanted() -> None:
    together = Case("", primitive("A") + primitive("B"), set(), with_("c", "B", "A") + located("l", "A", "n2", "10"))
    assert "-INFINITY it has to be where A is, which is on n2 (constraint c)" in why("B", together)
    apart = Case("", primitive("A") + primitive("B"), set(), with_("c", "B", "A", "-INFINITY"))
    assert "-INFINITY it must not be where A is (constraint c)" in why("B", apart)
    rather = Case("", primitive("A") + primitive("B"), set(), with_("c", "B", "A", "7"))
    assert "+7 it would rather be with A (constraint c)" in why("B", rather)
    alone = Case("", primitive("A", "target-role=Stopped") + primitive("B"), set(), with_("c", "B", "A"))
    told = why("B", alone)
    assert told[0] == "B is stopped and stays stopped."
    assert told.count("-INFINITY it has to be where A is, which is nowhere (constraint c)") == 3


def test_a_dependents_wish_counts_for_what_it_goes_with() -> None:
    case = Case("", primitive("A") + primitive("B"), set(), with_("c", "B", "A") + located("l", "B", "n3", "10"))
    told = why("A", case)
    assert "* n3: score 10, chosen" in told
    assert "+10 B, which goes with it, would rather be there (constraint c)" in told


def test_a_group_is_explained_member_by_member() -> None:
    told = why("G", Case("", group("G", primitive("A"), primitive("B")), set()))
    assert "A (in G) is stopped. It will be started on n1." in told
    assert "B (in G) is stopped. It will be started on n1." in told
    assert "-INFINITY it has to be where A is, which is on n1, a member of its group" in told


def test_clones_and_promotion() -> None:
    case = Case(
        "",
        clone("C", primitive("A"), "promotable=true clone-max=2"),
        set(),
        attributes={"n2": {"master-A": "10"}},
    )
    told = why("A", case)
    assert "A:0 (in C) is stopped. It will be started and promoted on n2." in told
    assert "* n2: score 10, chosen; promotion score 10" in told
    assert "-INFINITY another instance is there already (clone-node-max)" in told


@pytest.mark.parametrize(
    ("case", "headline", "circumstance"),
    [
        (
            Case("", primitive("A", "target-role=Stopped"), set()),
            "A is stopped and stays stopped.",
            "* It is disabled (target-role=Stopped).",
        ),
        (
            Case("", primitive("A", "is-managed=false target-role=Stopped"), set(), active={"A": "n1"}),
            "A is Started on n1 and stays so.",
            "* It is not managed (is-managed=false): it is left as it is.",
        ),
        (
            Case("", primitive("A"), set(), options={"maintenance-mode": "true"}),
            "A is stopped and stays stopped.",
            "* The cluster is in maintenance mode: it is left as it is.",
        ),
        (
            Case("", primitive("A"), set(), options={"stop-all-resources": "true"}, active={"A": "n1"}),
            "A is Started on n1. It will be stopped, because it may run on no node.",
            "* stop-all-resources is set: everything is kept stopped.",
        ),
        (
            Case("", primitive("A"), set(), quorum=False),
            "A is stopped. It should be started on n1, but cannot be, because the cluster has no quorum.",
            "* The cluster has no quorum; no-quorum-policy=stop: nothing may run.",
        ),
        (
            Case("", primitive("A"), set(), options={"stonith-enabled": "true"}),
            "A is stopped and stays stopped.",
            "* Fencing is on (fencing-enabled), but there is no fence device: nothing is started, moved or stopped.",
        ),
        (
            Case(
                "",
                primitive("A", ops="stop,0,on-fail=block"),
                set(),
                active={"A": "n1"},
                ops=(("n1", "A", "stop", 0, 1),),
            ),
            "A is Started on n1 and stays so.",
            "* It is blocked: nothing is done about it until a person has looked (then: hamgr cleanup).",
        ),
        (
            Case("", primitive("A"), set(), '<rsc_ticket id="t" rsc="A" ticket="T" loss-policy="stop"/>'),
            "A is stopped and stays stopped.",
            "* Its ticket T is not granted (loss-policy=stop).",
        ),
        (
            Case("", primitive("B", "target-role=Stopped") + primitive("A"), set(), order("first", "B", "A")),
            "A is stopped. It should be started on n1, but cannot be, "
            "because B, on which it depends, cannot be started.",
            "Nodes:",
        ),
        (
            Case("", primitive("A", "multiple-active=block"), set(), active={"A": "n1,n3"}),
            "A is Started on n1 and n3 and stays so.",
            "* It is active on more than one node; multiple-active=block says what becomes of that.",
        ),
    ],
)
def test_what_keeps_it_from_running(case: Case, headline: str, circumstance: str) -> None:
    told = why("A", case)
    assert told[0] == headline
    assert circumstance in told


def test_health_and_opt_in() -> None:
    case = Case(
        "",
        primitive("A"),
        set(),
        located("l", "A", "n1", "1") + located("m", "A", "n2", "2"),
        options={"symmetric-cluster": "false", "node-health-strategy": "migrate-on-red"},
        attributes={"n2": {"#health-disk": "red"}},
    )
    told = why("A", case)
    assert "-INFINITY the node's health (migrate-on-red)" in told
    assert "* n3: score -INFINITY, but no location constraint allows it there, and symmetric-cluster is false" in told


def test_the_same_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cib.xml"
    path.write_text(text_of(Case("", primitive("A"), set(), located("here", "A", "n3", "100"), active={"A": "n1"})))
    assert main([str(path), "--why", "A", "--output", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["why"]
    assert (found["resource"], found["nodes"], found["next-node"]) == ("A", ["n1"], "n3")
    assert found["changes"] == [{"action": "move", "reason": "", "blocked": False}]
    best = found["candidates"][0]
    assert (best["node"], best["score"], best["chosen"]) == ("n3", "100", True)
    assert [(step["code"], step["constraint"]) for step in best["steps"]] == [("location", "here")]


def test_a_mistyped_name_gets_the_one_that_was_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cib.xml"
    path.write_text(text_of(Case("", primitive("mariadb"), set())))
    assert main([str(path), "--why", "MariaDB"]) == 105
    assert capsys.readouterr().err == "hamgr simulate: there is no resource MariaDB; did you mean mariadb?\n"
    assert main([str(path), "--why", "maria-db"]) == 105
    assert capsys.readouterr().err == "hamgr simulate: there is no resource maria-db; did you mean mariadb?\n"
