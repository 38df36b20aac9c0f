"""crm_mon's layout, from documents made up here."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hamgr.api.status import (
    CRITICAL,
    Ban,
    FailCount,
    FailedAction,
    FenceStatus,
    FenceStep,
    Finding,
    NodeStatus,
    ResourceStatus,
    StatusDoc,
    TicketStatus,
    TransitionStatus,
)
from hamgr.cli.render.status import render_oneline, render_status, render_step, render_time
from hamgr.cli.status import of_age, of_etcd


def primitive(name, node="n1", **more):
    nodes = (node,) if node else ()
    return ResourceStatus(
        name, agent="ocf:hamgr:dummy", role=more.pop("role", "Started" if node else "Stopped"), nodes=nodes, **more
    )


DOC = StatusDoc(
    cluster="shop",
    leader="n1",
    version="0.1.0",
    token=17,
    quorum=True,
    members=2,
    updated_at="2026-11-22T21:00:00+00:00",
    changed_at="2026-11-22T20:00:00+00:00",
    changed_by="root@n1",
    nodes=(
        NodeStatus("n1", online=True, hamgrd=True, self_fence_s=4.0),
        NodeStatus("n2", online=True, hamgrd=True, self_fence_s=4.0),
        NodeStatus("n3"),
    ),
    resources=(
        ResourceStatus(
            "database", kind="group", children=(primitive("disk"), primitive("mariadb", note="parked on n2"))
        ),
    ),
    instances=2,
)


def test_the_ordinary_picture_as_a_whole():
    assert render_status(DOC, zone=UTC) == (
        "Cluster Summary:\n"
        "  * Cluster: shop\n"
        "  * Current DC: n1 (version 0.1.0, token 17) - partition with quorum\n"
        "  * Last updated: Sun Nov 22 21:00:00 2026\n"
        "  * Last change:  Sun Nov 22 20:00:00 2026 by root@n1\n"
        "  * 3 nodes configured (2 with hamgrd)\n"
        "  * 2 resource instances configured\n"
        "\n"
        "Node List:\n"
        "  * Online: [ n1 n2 ]\n"
        "  * OFFLINE: [ n3 ]\n"
        "\n"
        "Full List of Resources:\n"
        "  * Resource Group: database:\n"
        "    * disk\t(ocf:hamgr:dummy):\t Started n1\n"
        "    * mariadb\t(ocf:hamgr:dummy):\t Started n1 - parked on n2\n"
        "\n"
        "Self-Fencing:\n"
        "  * [ n1 n2 ] stop their instances within 4 s of losing etcd"
    )


def test_without_a_leader_the_picture_says_that_it_is_old():
    assert "Current DC: NONE (this is what n1 wrote before it left)" in render_status(DOC, led=False)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"unclean": True}, "Node x: UNCLEAN (offline)"),
        ({"unclean": True, "online": True}, "Node x: UNCLEAN (online)"),
        ({"online": True, "standby": True}, "Node x: standby"),
        ({"online": True, "standby": True, "standby_onfail": True}, "Node x: standby (on-fail)"),
        ({"standby": True}, "Node x: OFFLINE (standby)"),
        ({"online": True, "maintenance": True}, "Node x: maintenance"),
        ({"online": True, "pending": True}, "Node x: pending"),
        ({"online": True, "shutdown": True}, "Node x: online (shutting down)"),
        ({"online": True, "health": "red"}, "Node x: online (health is RED)"),
        ({"online": True, "health": "green"}, "Online: [ x ]"),
    ],
)
def test_nodes(flags, line):
    text = render_status(StatusDoc("c", nodes=(NodeStatus("x", **flags),)))
    assert text.split("Node List:\n")[1].split("\n")[0] == f"  * {line}"


FENCED = NodeStatus(
    "x", fenced_at="2026-11-22T21:00:00Z", fenced_by="node", away="nothing was heard of it since", hamgrd=False
)


def test_a_fenced_node_says_in_one_line_since_when_by_what_and_what_to_do():
    def shown(node):
        return render_status(StatusDoc("c", nodes=(node,)), zone=UTC).split("Node List:\n")[1].split("\n")[0]

    how = "fenced by level node at Sun Nov 22 21:00:00 2026; nothing was heard of it since"
    assert shown(FENCED) == f"  * Node x: OFFLINE, {how}"
    assert shown(replace(FENCED, standby=True)) == f"  * Node x: OFFLINE (standby), {how}"
    assert shown(replace(FENCED, fenced_by="", away="")) == "  * Node x: OFFLINE, fenced at Sun Nov 22 21:00:00 2026"


@pytest.mark.parametrize(
    ("resource", "state"),
    [
        (primitive("r"), "Started n1"),
        (primitive("r", ""), "Stopped"),
        (primitive("r", "", disabled=True), "Stopped (disabled)"),
        (primitive("r", failed=True), "FAILED n1"),
        (primitive("r", failed=True, role="Promoted"), "FAILED Promoted n1"),
        (primitive("r", failed=True, blocked=True), "FAILED n1 (blocked)"),
        (primitive("r", pending="Starting"), "Starting n1"),
        (primitive("r", pending="Monitoring"), "Started n1 (Monitoring)"),
        (primitive("r", managed=False), "Started n1 (unmanaged)"),
        (primitive("r", managed=False, maintenance=True), "Started n1 (maintenance)"),
        (primitive("r", orphaned=True), "ORPHANED Started n1"),
        (replace(primitive("r"), nodes=("n1", "n2")), "Started [ n1 n2 ]"),
    ],
)
def test_primitives(resource, state):
    text = render_status(StatusDoc("c", resources=(resource,)))
    assert f"  * r\t(ocf:hamgr:dummy):\t {state}" in text.split("\n")


def clone(*children, **more):
    return ResourceStatus("dbs", kind="clone", children=children, **more)


def resource_lines(resource):
    nodes = tuple(NodeStatus(name, online=True) for name in ("n1", "n2", "n3"))
    text = render_status(StatusDoc("c", nodes=nodes, resources=(resource,)))
    return text.split("Full List of Resources:\n")[1].split("\n\n")[0].split("\n")


def test_a_clone_puts_ordinary_instances_together():
    promotable = clone(
        primitive("db:0", "n1", role="Promoted"), primitive("db:1", "n2", role="Unpromoted"), promotable=True
    )
    assert resource_lines(promotable) == [
        "  * Clone Set: dbs [db] (promotable):",
        "    * Promoted: [ n1 ]",
        "    * Unpromoted: [ n2 ]",
        "    * Stopped: [ n3 ]",
    ]


def test_an_instance_with_trouble_gets_its_own_line():
    lines = resource_lines(clone(primitive("db", "n2"), primitive("db", "n1", failed=True)))
    assert lines[1:] == [
        "    * db\t(ocf:hamgr:dummy):\t FAILED n1",
        "    * Started: [ n2 ]",
        "    * Stopped: [ n3 ]",
    ]


def test_a_cloned_group_is_opened_only_where_it_is_not_whole():
    whole = ResourceStatus("g:0", kind="group", children=(primitive("a", "n1"), primitive("b", "n1")))
    half = ResourceStatus("g:1", kind="group", children=(primitive("a", "n2"), primitive("b", "")))
    assert resource_lines(clone(whole, half))[1:] == [
        "    * Resource Group: g:1:",
        "      * a\t(ocf:hamgr:dummy):\t Started n2",
        "      * b\t(ocf:hamgr:dummy):\t Stopped",
        "    * Started: [ n1 ]",
        "    * Stopped: [ n3 ]",
    ]


def test_failed_actions_and_fail_counts():
    doc = replace(
        DOC,
        failed=(
            FailedAction("mariadb", "monitor", "n1", 5000, 7, "not running", at="2026-11-22T21:00:00Z", took_ms=12),
            FailedAction("disk", "start", "n2", rc=1, status="Timed Out", reason="no detach"),
        ),
        failcounts=(FailCount("mariadb", "n1", "1", "5", "Sun"),),
    )
    text = render_status(doc, full=True, zone=UTC)
    assert "  * mariadb 5s-interval monitor on n1 returned 'not running' at Sun Nov 22 21:00:00 2026 after 12ms" in text
    assert "  * disk start on n2 returned 'exit code 1' (Timed Out) because 'no detach'" in text
    assert "  * Node: n1:\n    * mariadb: migration-threshold=5 fail-count=1 last-failure='Sun'" in text
    assert "Migration Summary" not in render_status(doc)


def fence(number, **more):
    return (
        FenceStatus(
            f"f{number}",
            "n2",
            "succeeded",
            level="volume",
            executed_by="n1",
            token=17,
            requested_by="hamgr",
            reason="node n2 fell silent",
            took_s=2.14,
            proof="gone",
            steps=(FenceStep("intent", 0.0),),
        )
        if not more
        else replace(fence(number), **more)
    )


def test_a_fence_is_one_readable_block():
    text = render_status(replace(DOC, fencing=(fence(1),)))
    assert (
        "Fencing History:\n"
        "  * reboot of n2 successful by level volume in 2.1 s\n"
        "      n1 (token 17) for hamgr: node n2 fell silent\n"
        "      proof: gone\n"
    ) in text


def test_a_step_is_its_level_and_a_sentence():
    assert render_step(1.5, "volume: cut", "cutting clients off") == "  1.50 s  volume: cutting clients off"
    assert render_step(1.5, "volume: odd", "") == "  1.50 s  volume: odd"


def test_pending_fences_show_their_steps_and_failed_ones_how_they_ended():
    pending = fence(1, outcome="pending", proof="", took_s=None)
    failed = fence(2, outcome="failed", proof="", error="timeout")
    text = render_status(replace(DOC, fencing=(pending, failed)))
    assert "Pending Fencing Actions:\n  * reboot of n2 pending by level volume\n" in text
    assert text.count("        0.00 s  intent") == 1  # `hamgr fence history` has the failed one's
    assert "Failed Fencing Actions:\n  * reboot of n2 FAILED" in text
    assert "      error: timeout" in text


def test_a_failure_that_a_later_success_has_settled_is_history():
    failed = fence(1, outcome="failed", proof="", error="timeout")
    text = render_status(replace(DOC, fencing=(fence(2), failed, fence(3, target="n9", outcome="failed"))))
    before, _, history = text.partition("Fencing History:")
    assert "reboot of n9 FAILED" in before
    assert "reboot of n2" not in before
    assert history.index("reboot of n2 successful") < history.index("reboot of n2 FAILED")


def test_who_asked_for_a_fence_is_told_once():
    asked = fence(1, requested_by="root@x", reason="asked for by root@x")
    by_itself = fence(2, requested_by="n1", reason="the scheduler asked for it: node is unclean")
    for_another = fence(3, requested_by="n3", reason="the scheduler asked for it: node is unclean")
    text = render_status(replace(DOC, fencing=(asked, by_itself, for_another)))
    assert "      n1 (token 17): asked for by root@x\n" in text
    assert "      n1 (token 17): the scheduler asked for it: node is unclean\n" in text
    assert "      n1 (token 17) for n3: the scheduler asked for it: node is unclean\n" in text


def test_what_was_on_a_lost_node_is_not_shown_as_if_it_ran_there():
    """crm_mon's mark: nobody can see whether it runs."""
    nodes = (NodeStatus("n1", online=True), NodeStatus("n2", unclean=True))
    clone_set = clone(primitive("db", "n1"), primitive("db", "n2"))
    listed = (primitive("r", "n2"), primitive("s", "n1"), replace(primitive("t"), nodes=("n1", "n2")), clone_set)
    text = render_status(replace(DOC, nodes=nodes, resources=listed))
    assert "Started n2 (UNCLEAN)\n" in text
    assert "Started n1\n" in text
    assert "Started [ n1 n2 ]\n" in text
    assert "    * Started: [ n1 ]" in text
    assert text.count("(UNCLEAN)") == 2


def test_a_superseded_fence_is_history_with_what_took_its_place():
    steps = (FenceStep("node: isolate", 0.1, "switching"), FenceStep("node: isolate", 31.5, "fence f3 has its place"))
    superseded = fence(1, outcome="superseded", level="node", proof="", took_s=31.5, steps=steps)
    text = render_status(replace(DOC, fencing=(superseded,)))
    assert (
        "Fencing History:\n"
        "  * reboot of n2 superseded at level node after 31.5 s\n"
        "      n1 (token 17) for hamgr: node n2 fell silent\n"
        "       31.50 s  node: fence f3 has its place\n"
    ) in text + "\n"


def test_a_fence_that_tries_again_and_again_shows_its_last_steps():
    """A dead management board tried for the thirtieth time must not push the rest off the screen."""
    steps = tuple(FenceStep("node: isolate", float(number), f"attempt {number}") for number in range(30))
    doc = replace(DOC, fencing=(fence(1, outcome="pending", proof="", took_s=None, steps=steps),))
    shown = [line.split()[-1] for line in render_status(doc).splitlines() if "attempt" in line]
    assert shown == [str(number) for number in range(22, 30)]
    assert "      ... 22 earlier steps (`hamgr fence history` shows them)\n" in render_status(doc)
    few = replace(DOC, fencing=(fence(1, outcome="pending", proof="", took_s=None, steps=steps[:8]),))
    assert "earlier" not in render_status(few)


def test_a_fence_tells_what_it_has_not_released():
    text = render_status(replace(DOC, fencing=(fence(1, left="pv-1 is stuck"),)))
    assert "      proof: gone\n      not released in time: pv-1 is stuck" in text


def test_a_long_history_is_cut_short_unless_asked_for():
    doc = replace(DOC, fencing=tuple(fence(number) for number in range(8)))
    assert render_status(doc).count("reboot of n2 successful") == 5
    assert "... and 3 more (--full shows them)" in render_status(doc)
    assert render_status(doc, full=True).count("reboot of n2 successful") == 8


def test_everything_else_has_its_section():
    doc = replace(
        DOC,
        disabled=1,
        blocked=2,
        maintenance=True,
        stonith_enabled=False,
        bans=(
            Ban("cli-ban-db-on-n1", "db", "n1"),
            Ban("b2", "db", "n2", promoted_only=True),
            Ban("hamgr-cannot-run-disk-on-n3", "disk", "n3", why="PersistentVolume p is for nodes with zone=a"),
        ),
        tickets=(TicketStatus("t", granted=True),),
        transition=TransitionStatus(4, 7, 2, ("disk_start_0 n1",)),
        warnings=("look here",),
        nodes=(NodeStatus("n1", online=True, attributes={"rack": "a"}),),
    )
    text = render_status(doc, full=True)
    for line in (
        "2 resource instances configured (1 DISABLED, 2 BLOCKED)",
        "*** Resource management is DISABLED: maintenance-mode is on ***",
        "*** Fencing is DISABLED: fencing-enabled is false, data on shared volumes is NOT safe ***",
        "hamgr-cannot-run-disk-on-n3\tprevents disk from running on n3 (PersistentVolume p is for nodes with zone=a)",
        "cli-ban-db-on-n1\tprevents db from running on n1",
        "b2\tprevents db from running Promoted on n2",
        "t\tgranted",
        "4: 2 of 7 actions done: disk_start_0 n1",
        "look here",
        "Node: n1:\n    * rack\t: a",
    ):
        assert f"  * {line}" in text


def found(*findings):
    return replace(DOC, nodes=DOC.nodes[:2]).with_findings(findings)


WORD, ALARM = Finding("x", "pdu is dead"), Finding("y", "db is down", CRITICAL)


@pytest.mark.parametrize(
    ("doc", "line", "code"),
    [
        (found(), "CLUSTER OK: 2 nodes online, 2 resource instances configured", 0),
        (
            replace(found(), nodes=(DOC.nodes[0], replace(DOC.nodes[1], standby=True)), instances=1),
            "CLUSTER OK: 1 node online, 1 standby node, 1 resource instance configured",
            0,
        ),
        (
            replace(found(), nodes=(DOC.nodes[0], NodeStatus("n2", online=True))),
            "CLUSTER OK: 2 nodes online (n2 without hamgrd), 2 resource instances configured",
            0,
        ),
        (found(WORD), "CLUSTER WARN: pdu is dead", 1),
        (found(WORD, WORD), "CLUSTER WARN: pdu is dead", 1),
        (found(WORD, ALARM), "CLUSTER CRIT: db is down; pdu is dead", 2),
        (replace(found(), warnings=("told by an older leader",)), "CLUSTER WARN: told by an older leader", 1),
    ],
)
def test_one_line_for_monitoring(doc, line, code):
    assert render_oneline(doc) == (line, code)


def test_each_finding_is_a_line_below_warnings_what_is_critical_first():
    assert render_status(found(WORD, ALARM)).endswith("Warnings:\n  * CRITICAL: db is down\n  * pdu is dead")


def test_a_status_that_nobody_writes_any_more_is_critical():
    """Its leader hangs, or its writes fail: what it says may be long untrue."""
    doc = replace(DOC, nodes=DOC.nodes[:2], updated_at="2026-11-22T21:00:00Z")
    assert list(of_age(doc, datetime(2026, 11, 22, 21, 1, 0, tzinfo=UTC))) == []
    line, code = render_oneline(doc.with_findings(of_age(doc, datetime(2026, 11, 22, 21, 1, 1, tzinfo=UTC))))
    assert code == 2
    assert line.startswith("CLUSTER CRIT: this status is 61 s old: n1 cannot write to etcd or hangs")


def test_an_alarm_of_etcd_is_critical_and_says_the_way_out():
    line, code = render_oneline(replace(DOC, nodes=DOC.nodes[:2]).with_findings(of_etcd(("NOSPACE",))))
    assert code == 2
    assert "takes no writes, so nothing can be fenced" in line
    assert "`etcdctl alarm disarm`" in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [("2026-11-22T21:00:00Z", "Sun Nov 22 21:00:00 2026"), ("", "never"), ("yesterday", "yesterday")],
)
def test_times(text, shown):
    assert render_time(text, UTC) == shown


def test_a_notice_is_shown_and_changes_no_verdict() -> None:
    doc = StatusDoc("shop", notices=(Finding("reclaim-policy-delete", "PersistentVolume v has reclaim policy Delete"),))
    assert "Notices:\n  * PersistentVolume v has reclaim policy Delete" in render_status(doc)
    assert render_oneline(doc)[1] == 0
    assert StatusDoc.from_json(doc.to_json()) == doc
