"""What is found in a status document: of values made up here, where the scheduler's whole way is not needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hamgr.api.status import CRITICAL, WARNING, FenceStatus, Finding, NodeStatus, ResourceStatus, StatusDoc, by_severity
from hamgr.controller.status.health import Insight, Lasting, Patience, assess
from hamgr.scheduler.output.explain import Account
from hamgr.scheduler.transition import Reason, SummaryLine

N1, N2 = NodeStatus("n1", online=True, hamgrd=True), NodeStatus("n2", online=True, hamgrd=True)
DB = ResourceStatus("db", agent="hamgr:pod", role="Started", nodes=("n1",))
WELL = StatusDoc("c", quorum=True, nodes=(N1, N2), resources=(DB,))
DOWN = replace(WELL, resources=(replace(DB, role="Stopped", nodes=()),))


def account(*circumstances: Reason, changes: tuple[SummaryLine, ...] = (), next_node: str = "") -> Account:
    return Account("db", (), "Stopped", (), "Stopped", next_node, changes, circumstances, (), None)


def found(document: StatusDoc, insight: Insight | None = None) -> list[Finding]:
    """What counts at once."""
    return list(Patience().settle(assess(document, insight or Insight()), 0.0))


def test_nothing_is_found_where_all_is_well() -> None:
    assert found(WELL) == []


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (Reason("blocked", "db"), ("it is blocked", "`hamgr cleanup db`")),
        (Reason("maintenance-mode", "db"), ("the cluster is in maintenance mode", "`hamgr maintenance off`")),
        (Reason("node-maintenance", "db"), ("its node is in maintenance", "`hamgr maintenance off NODE`")),
        (Reason("unmanaged", "db"), ("it is not managed", "`hamgr manage db`")),
        (Reason("no-fence-device", "db"), ("there is no fence device", "section `fencing`")),
        (
            Reason("no-quorum", "db", data={"policy": "stop"}),
            ("the cluster has no quorum", "bring etcd's members back"),
        ),
        (Reason("ticket", "db", data={"ticket": "t", "policy": "stop"}), ("its ticket t is not granted", "has to be")),
        (Reason("locked", "db", "n2"), ("it waits for n2", "bring that node back")),
        (
            Reason("pending", "db", "n2", {"operation": "start"}),
            ("its start on n2 has not come back", "`hamgr events -f`"),
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Reason) else "",
)
def test_what_holds_a_resource_as_a_whole_is_said_with_what_ends_it(reason: Reason, says: tuple[str, ...]) -> None:
    (finding,) = found(DOWN, Insight(accounts={"db": account(reason)}))
    assert (finding.code, finding.severity, finding.resource) == ("resource-down", CRITICAL, "db")
    assert finding.text.startswith("db is down and should run: ")
    assert all(part in finding.text for part in says), finding.text


@pytest.mark.parametrize(
    "insight",
    [
        Insight(),
        Insight(accounts={"db": account()}),
        Insight(accounts={"db": account(next_node="n2")}),
        Insight(accounts={"db": account(changes=(SummaryLine("start", "db", blocked=True),))}),
    ],
    ids=["not asked yet", "no reason at all", "it should be started", "blocked without a reason"],
)
def test_there_is_a_line_though_nobody_knows_why(insight: Insight) -> None:
    (finding,) = found(DOWN, insight)
    assert (finding.code, finding.severity, finding.resource) == ("resource-down", CRITICAL, "db")


def test_a_clone_is_down_when_no_instance_runs() -> None:
    one, two = replace(DB, id="db:0"), replace(DB, id="db:1", role="Stopped", nodes=())
    clone = ResourceStatus("dbs", kind="clone", children=(one, two))
    assert found(replace(WELL, resources=(clone,))) == []
    (finding,) = found(replace(WELL, resources=(replace(clone, children=(replace(two, id="db:0"), two)),)))
    assert finding.text.startswith("dbs (db) is down and should run: ")


def test_a_promotable_clone_of_which_nothing_is_promoted_is_critical_unless_somebody_wants_it_so() -> None:
    clone = ResourceStatus("dbs", kind="clone", promotable=True, children=(replace(DB, id="db:0", role="Unpromoted"),))
    document = replace(WELL, resources=(clone,))
    (finding,) = found(document)
    assert (finding.code, finding.severity) == ("resource-unpromoted", CRITICAL)
    wanted = {"db:0": account(Reason("target-role", "db:0", data={"role": "Unpromoted"}))}
    (finding,) = found(document, Insight(accounts=wanted))
    assert (finding.code, finding.severity) == ("resource-disabled", WARNING)
    promoted = replace(clone, children=(replace(DB, id="db:0", role="Promoted"),))
    assert found(replace(WELL, resources=(promoted,))) == []


def test_what_is_on_two_nodes_is_critical_but_for_a_migration() -> None:
    twice = replace(WELL, resources=(replace(DB, nodes=("n1", "n2")),))
    assert [(f.code, f.severity) for f in found(twice)] == [("resource-multiply-active", CRITICAL)]
    assert found(twice, Insight(under_way=frozenset({"db"}))) == []


def test_a_fence_that_has_failed_is_critical_only_while_something_waits_for_it() -> None:
    document = replace(WELL, fencing=(FenceStatus("f", "n2", "failed"),))
    assert [(f.code, f.severity, f.node) for f in found(document)] == [("fence-failed", WARNING, "n2")]
    lost = replace(document, nodes=(N1, replace(N2, online=False, unclean=True)))
    assert [(f.code, f.severity, f.node) for f in found(lost)] == [("node-unclean", CRITICAL, "n2")]
    settled = replace(document, fencing=(FenceStatus("g", "n2", "succeeded"), *document.fencing))
    assert found(settled) == []


def test_fencing_that_is_switched_off_is_a_warning() -> None:
    assert [f.code for f in found(replace(WELL, stonith_enabled=False))] == ["fencing-disabled"]


def test_what_lasts_counts_after_its_time_and_begins_anew_after_a_break() -> None:
    patience, bad, mild = Patience(), Finding("x", "bad", CRITICAL), Finding("x", "mild")
    lasting = Lasting(bad, 60.0, mild)
    told = [list(patience.settle([lasting], now)) for now in (0.0, 59.0, 60.0)]
    assert told == [[mild], [mild], [bad]]
    assert list(patience.settle([], 61.0)) == []
    assert list(patience.settle([lasting], 62.0)) == [mild]
    assert list(patience.settle([Lasting(bad)], 63.0)) == []


def test_findings_are_told_once_what_is_critical_first() -> None:
    a, b = Finding("a", "a"), Finding("b", "b", CRITICAL)
    assert by_severity([a, b, a]) == (b, a)
    document = WELL.with_findings([a, b, a])
    assert document.warnings == ("b", "a")
    assert StatusDoc.from_json(document.to_json()) == document
