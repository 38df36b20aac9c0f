"""There is always a finding where a resource is down: each way in which one can be, as the scheduler really sees it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from fixtures.leader_world import FILE, World

from hamgr.api.status import CRITICAL, WARNING, Finding, StatusDoc, verdict
from hamgr.controller.requests.overrides import Overrides
from hamgr.controller.status.outlook import at_once
from hamgr.controller.status.report import Reporter
from hamgr.executor.ocf import ExecStatus
from hamgr.fencer.reasons import reason

ONE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - {id: db, agent: dummy, operations: {monitor: {interval: 10s}}}
"""


def with_more(text: str) -> str:
    return ONE + text


class Desk:
    """A leader's reporter, looked at as `hamgr status` does."""

    def __init__(self, world: World) -> None:
        self.world = world
        leadership: Any = SimpleNamespace(token=SimpleNamespace(revision=7), node="n1", fenced_txn=lambda **_more: 1)
        self.reporter = Reporter(
            world.leader, leadership, None, clock=lambda: world.time, now=lambda: world.time, submit=self._submit
        )
        self.busy: list[tuple[Callable[[], Any], Future[Any]]] | None = None  # questions that nobody has answered yet

    def _submit(self, question: Callable[[], Any]) -> Future[Any]:
        if self.busy is None:
            return at_once(question)
        self.busy.append((question, Future()))
        return self.busy[-1][1]

    def look(self, after_s: float = 0.0) -> StatusDoc:
        """The status now, or after so much longer of the same. The leader's term itself does not go on meanwhile."""
        document = self.reporter.document()
        if after_s:
            self.world.time += after_s
            document = self.reporter.document()
        return document

    def look_ahead(self) -> StatusDoc:
        """The status after the reporter has had the time to ask of each node what would be without it."""
        for _ in range(4):
            self.world.time += 1.0
            self.reporter.publish(news=True)
        return self.reporter.document()


def override(world: World, change: Callable[[Overrides], Overrides]) -> None:
    cluster_state = world.leader.cluster_state
    cluster_state.set_overrides(change(cluster_state.overrides))
    world.leader.touch("an operator has asked for it")


def running(text: str = ONE) -> World:
    world = World(text=text)
    world.settle()
    assert len(world.where("db")) == 1
    return world


def overridden(change: Callable[[Overrides], Overrides], text: str = ONE) -> World:
    world = running(text)
    override(world, change)
    world.settle()
    return world


def applied(text: str) -> World:
    world = World(text=text)
    world.settle()
    return world


def all_nodes(name: str) -> Callable[[Overrides], Overrides]:
    def change(before: Overrides) -> Overrides:
        for node in ("n1", "n2", "n3"):
            before = before.node_attribute(node, name, "true")
        return before

    return change


def banned(before: Overrides) -> Overrides:
    for node in ("n1", "n2", "n3"):
        before = before.ban("db", node)
    return before


ZONE_A = "PersistentVolume pv-1 is for nodes with zone=a"


def barred(*nodes: str) -> World:
    """Where its disk cannot be attached."""
    world = running()
    world.leader.cluster_state.set_bars({"db": dict.fromkeys(nodes, ZONE_A)})
    world.leader.touch("test")
    world.settle()
    return world


def starts_fail(rc: int) -> World:
    world = World(text=ONE)
    for _ in range(60):
        for op in list(world.executor.in_flight):
            if op in world.executor.in_flight:
                world.end(op, rc if op.task == "start" else None)
        world.advance()
    assert world.leader.idle
    return world


def lost(*nodes: str, before: Callable[[World, str], None] = lambda _world, _node: None) -> World:
    """The node with the database falls silent, or these do."""
    world = running()
    for node in nodes or world.where("db"):
        before(world, node)
        world.lose(node)
    for _ in range(5):
        world.advance()
    return world


def hold(world: World, node: str) -> None:
    world.held[node] = reason("maintenance")


def all_gone() -> World:
    world = running()
    for node in ("n1", "n2", "n3"):
        world.lose(node)
        world.settle()
    return world


def fence_failed() -> World:
    world = lost()
    for record in list(world.fencer.running.values()):
        world.fenced(record, succeeded=False)
    world.advance()
    return world


def left_alone_while_down(change: Callable[[Overrides], Overrides]) -> World:
    """Down for another reason, then left alone, then without that reason."""
    world = overridden(banned)
    override(world, change)
    world.settle()
    override(world, lambda before: before.clear("db"))
    world.settle()
    return world


def stop_fails(on_fail: str) -> World:
    world = running(ONE.replace("interval: 10s}", f"interval: 10s}}, stop: {{on-fail: {on_fail}}}"))
    override(world, lambda before: before.node_attribute(world.where("db")[0], "standby", "true"))
    world.until(lambda: bool(world.ops("stop")))
    world.end(world.ops("stop")[0], 1)
    world.advance()
    return world


def monitor_fails(on_fail: str) -> World:
    world = running(ONE.replace("interval: 10s", f"interval: 10s, on-fail: {on_fail}"))
    (monitor,) = world.executor.monitors.values()
    world.truth.clear()
    world.report(monitor, 7)
    for _ in range(20):
        for op in list(world.executor.in_flight):
            if op in world.executor.in_flight and not op.interval_ms:
                world.end(op)
        world.advance()
    return world


def starting() -> World:
    world = World(text=ONE)
    world.until(lambda: bool(world.ops("start")))
    return world


BEHIND = with_more(
    "  - {id: first, agent: dummy, meta: {target-role: Stopped}}\nconstraints:\n  - order: {first: first, then: db}\n"
)
BESIDE = with_more(
    "  - {id: other, agent: dummy, meta: {target-role: Stopped}}\n"
    "constraints:\n  - colocation: {resource: db, with: other, score: INFINITY}\n"
)
NOWHERE = with_more(
    "constraints:\n" + "".join(f"  - location: {{resource: db, node: n{n}, score: -INFINITY}}\n" for n in (1, 2, 3))
)
TICKET = with_more("constraints:\n  - ticket: {ticket: site, resource: db, loss-policy: stop}\n")
FULL = """\
cluster: test
options: {placement-strategy: utilization}
nodes:
  - {name: n1, utilization: {memory: 1}}
  - {name: n2, utilization: {memory: 1}}
  - {name: n3, utilization: {memory: 1}}
resources:
  - {id: db, agent: dummy, utilization: {memory: 2}}
"""


@dataclass(frozen=True)
class Way:
    """How it comes to be down; what is said then, word for word in part, and how bad it is."""

    make: Callable[[], World]
    says: tuple[str, ...]
    code: str = "resource-down"
    severity: str = CRITICAL


WAYS = {
    "disabled": Way(
        lambda: overridden(lambda o: o.resource_meta("db", "target-role", "Stopped")),
        ("db is stopped: db is disabled", "`hamgr enable db`"),
        "resource-disabled",
        WARNING,
    ),
    "target-role in the file": Way(
        lambda: applied(ONE.replace("agent: dummy,", "agent: dummy, meta: {target-role: Stopped},")),
        ("db is stopped: db is disabled", "target-role in the cluster file"),
        "resource-disabled",
        WARNING,
    ),
    "stop-all-resources": Way(
        lambda: applied(ONE.replace("nodes:", "options: {stop-all-resources: true}\nnodes:")),
        ("db is stopped: stop-all-resources",),
        "resource-disabled",
        WARNING,
    ),
    "all in standby": Way(
        lambda: overridden(all_nodes("standby")),
        ("db is down and should run", "n1: it is in standby", "n3: it is in standby", "`hamgr unstandby n1`"),
    ),
    "all in maintenance": Way(
        lambda: left_alone_while_down(all_nodes("maintenance")),
        ("db is down and should run", "it is in maintenance", "`hamgr maintenance off n2`"),
    ),
    "banned everywhere": Way(lambda: overridden(banned), ("n1: it was moved or banned from there", "`hamgr clear db`")),
    "its disk is of another zone": Way(lambda: barred("n1", "n2", "n3"), (f"n1: {ZONE_A}; n2: ", f"n3: {ZONE_A}")),
    "starts fail everywhere": Way(
        lambda: starts_fail(1), ("n1: it has failed there as often as migration-threshold allows", "`hamgr cleanup db`")
    ),
    "fatal error": Way(lambda: starts_fail(6), ("an error that would be the same everywhere", "`hamgr cleanup db`")),
    "hard errors": Way(lambda: starts_fail(5), ("its agent cannot run it there", "`hamgr cleanup db`")),
    "ticket": Way(lambda: applied(TICKET), ("ticket site is not granted",)),
    "no node online": Way(all_gone, ("n1: it is offline", "bring n3 back")),
    "what it is ordered behind is down": Way(
        lambda: applied(BEHIND), ("first, on which it depends, cannot be started",)
    ),
    "what it has to be with is down": Way(lambda: applied(BESIDE), ("it has to be where other is, which is nowhere",)),
    "unmanaged": Way(
        lambda: left_alone_while_down(lambda o: o.resource_meta("db", "is-managed", "false")),
        ("it is not managed", "`hamgr manage db`"),
    ),
    "maintenance-mode": Way(
        lambda: left_alone_while_down(lambda o: o.option("maintenance-mode", "true")),
        ("the cluster is in maintenance mode", "`hamgr maintenance off`"),
    ),
    "the file allows no node": Way(lambda: applied(NOWHERE), ("n1: constraint ", "n3: constraint ")),
    "no room": Way(lambda: applied(FULL), ("the node has not the capacity for it",)),
    "on-fail=stop": Way(lambda: monitor_fails("stop"), ("on-fail=stop", "`hamgr cleanup db`")),
    "blocked by a failed stop": Way(
        lambda: stop_fails("block"), ("is blocked", "`hamgr cleanup db`"), "resource-blocked"
    ),
    "blocked by a failed monitor": Way(
        lambda: monitor_fails("block"), ("is blocked", "`hamgr cleanup db`"), "resource-blocked"
    ),
    "its node is lost, the fence goes on": Way(
        lost, ("db can start elsewhere once it is proved gone",), "node-unclean"
    ),
    "its node is lost, the fence waits": Way(
        lambda: lost(before=hold), ("fencing of n2 has to wait: ", "does not wait"), "fencing-held"
    ),
    "its node is lost, the fence fails": Way(
        fence_failed, ("lost and not proved gone: db", "`hamgr fence --confirm n2`"), "node-unclean"
    ),
    "it is being started": Way(starting, ("db is down: it is being started",), "resource-recovering", WARNING),
}


def fitting(document: StatusDoc, way: Way) -> list[Finding]:
    return [
        finding
        for finding in document.findings
        if (finding.code, finding.severity) == (way.code, way.severity)
        and all(part in finding.text for part in way.says)
    ]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_there_is_a_finding_for_each_way_to_be_down(way: Way) -> None:
    document = Desk(way.make()).look()
    db = next(resource for resource in document.resources if resource.id == "db")
    lost = {node.name for node in document.nodes if not node.online}
    assert db.failed or db.blocked or db.pending or not set(db.nodes) - lost, "it serves"
    assert fitting(document, way), "\n".join(f"{f.severity} {f.code}: {f.text}" for f in document.findings)
    assert verdict(document.findings) == (2 if way.severity == CRITICAL else 1)


def test_what_is_being_started_for_too_long_is_down() -> None:
    desk = Desk(starting())
    (finding,) = [f for f in desk.look(after_s=61).findings if f.resource == "db"]
    assert (finding.code, finding.severity) == ("resource-down", CRITICAL)
    assert "db is down for longer than 60 s: it is being started" in finding.text


def test_all_is_well_where_everything_runs_and_could_fail_over() -> None:
    assert Desk(running(FILE)).look_ahead().findings == ()


def test_a_group_is_told_of_once_with_the_member_that_is_to_blame() -> None:
    world = World(text=FILE)
    world.settle()
    override(world, lambda before: before.resource_meta("disk", "target-role", "Stopped"))
    world.settle()
    (finding,) = Desk(world).look().findings
    assert finding.text.startswith("database (disk, db) is stopped: disk is disabled")
    assert (finding.code, finding.severity, finding.resource) == ("resource-disabled", WARNING, "database")


def test_a_scheduler_that_fails_is_a_finding_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_more: object) -> None:
        raise RuntimeError("a defect")

    world = overridden(banned)
    monkeypatch.setattr("hamgr.controller.status.outlook.run", fails)
    (finding,) = [f for f in Desk(world).look_ahead().findings if f.resource == "db"]
    assert (finding.code, finding.severity) == ("resource-down", CRITICAL)


def test_why_it_is_down_is_asked_again_once_what_was_under_way_is_over() -> None:
    world = World(text=ONE)
    world.until(lambda: bool(world.ops("start")))
    override(world, banned)
    desk = Desk(world)
    world.advance()
    assert [f.code for f in desk.look().findings if f.resource == "db"] == ["resource-recovering"]
    world.settle()
    assert world.where("db") == []
    (finding,) = [f for f in desk.look().findings if f.resource == "db"]
    assert (finding.code, finding.severity) == ("resource-down", CRITICAL)
    assert "`hamgr clear db`" in finding.text


def test_why_it_is_down_is_asked_again_after_a_while() -> None:
    desk = Desk(overridden(banned))
    desk.look()
    desk.busy = []
    assert desk.look(after_s=9.0).findings == desk.look().findings
    assert desk.busy == []
    desk.look(after_s=2.0)
    assert len(desk.busy) == 1


def test_the_status_does_not_wait_for_the_scheduler() -> None:
    desk = Desk(overridden(banned))
    desk.busy = []
    (finding,) = [f for f in desk.look().findings if f.resource == "db"]
    assert (finding.code, finding.severity) == ("resource-down", CRITICAL)
    assert "the scheduler is being asked why" in finding.text
    ((question, answer),) = desk.busy
    assert desk.look().findings == desk.look().findings
    assert len(desk.busy) == 1  # it is asked once
    answer.set_result(question())
    assert "`hamgr clear db`" in desk.look().findings[0].text


# --- it serves, and could not fail over ------------------------------------------------------------------------------


def ban_elsewhere(before: Overrides) -> Overrides:
    return before.ban("db", "n1").ban("db", "n3")


def standby_elsewhere(before: Overrides) -> Overrides:
    return before.node_attribute("n1", "standby", "true").node_attribute("n3", "standby", "true")


STRANDED = {
    "banned": (ban_elsewhere, "n1: it was moved or banned from there", "`hamgr clear db`"),
    "standby": (standby_elsewhere, "n3: it is in standby", "`hamgr unstandby n3`"),
}


@pytest.mark.parametrize(("change", "why", "advice"), STRANDED.values(), ids=STRANDED)
def test_what_runs_and_could_not_fail_over_is_a_warning(
    change: Callable[[Overrides], Overrides], why: str, advice: str
) -> None:
    world = running()
    assert world.where("db") == ["n2"]
    override(world, change)
    world.settle()
    (finding,) = Desk(world).look_ahead().findings
    assert (finding.code, finding.severity, finding.resource, finding.node) == ("no-failover", WARNING, "db", "n2")
    assert finding.text.startswith("db could not fail over: without n2 it would run nowhere; n1: ")
    assert why in finding.text
    assert advice in finding.text


def test_why_a_node_is_not_taken_is_told_of_bars_and_of_a_failover_that_would_find_none() -> None:
    world = barred("n1", "n3")
    document = Desk(world).look_ahead()
    assert world.where("db") == ["n2"]
    assert {(ban.resource, ban.node, ban.why) for ban in document.bans} == {("db", "n1", ZONE_A), ("db", "n3", ZONE_A)}
    (finding,) = document.findings
    assert finding.code == "no-failover"
    assert f"without n2 it would run nowhere; n1: {ZONE_A}; n3: {ZONE_A}" in finding.text


def test_a_node_barred_by_failures_is_a_warning_while_another_is_left() -> None:
    world = running()
    where = world.where("db")[0]
    for op in list(world.executor.monitors.values()):
        world.truth.clear()
        world.report(op, 7)
    world.until(lambda: bool(world.ops("start")))
    world.end(world.ops("start")[0], 1, ExecStatus.DONE)
    world.settle()
    assert world.where("db") != [where]
    found = Desk(world).look_ahead().findings
    assert {(f.code, f.severity) for f in found} == {("node-barred", WARNING)}
    assert "may not run on n2 any more: db start failed on n2; mend the cause, then `hamgr cleanup db`" in found[0].text


def test_what_the_file_binds_to_one_node_is_meant_to_be_down_with_it() -> None:
    text = with_more(
        "options: {symmetric-cluster: false}\nconstraints:\n  - location: {resource: db, node: n2, score: 1}\n"
    )
    world = applied(text)
    assert world.where("db") == ["n2"]
    assert Desk(world).look_ahead().findings == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda o: o.resource_meta("db", "is-managed", "false"), "resource-unmanaged"),
        (lambda o: o.option("maintenance-mode", "true"), "maintenance"),
        (lambda o: o.node_attribute("n2", "maintenance", "true"), "node-maintenance"),
    ],
)
def test_what_is_left_alone_is_a_warning_while_it_runs(change: Callable[[Overrides], Overrides], code: str) -> None:
    found = Desk(overridden(change)).look_ahead().findings
    assert {(f.code, f.severity) for f in found} == {(code, WARNING)}


def test_a_database_that_would_fail_over_to_a_cold_node_is_a_warning_after_a_while() -> None:
    desk = Desk(running())
    desk.reporter.unwarmed = lambda: {"db": "n2"}
    assert desk.look().findings == ()
    assert desk.look(after_s=24).findings == (), "as long as parking may take that goes well"
    (finding,) = desk.look(after_s=2).findings
    assert (finding.code, finding.severity, finding.node) == ("standby-not-warm", WARNING, "n2")
    desk.reporter.unwarmed = dict
    assert desk.look().findings == ()


def test_a_fence_that_failed_and_that_nothing_waits_for_is_a_warning() -> None:
    world = fence_failed()
    world.join("n2")
    world.settle()
    for kind in list(world.fences):
        if world.fences[kind]["outcome"] == "succeeded":
            del world.fences[kind]
    found = Desk(world).look_ahead().findings
    assert "node-unclean" not in {finding.code for finding in found}
    assert verdict(found) <= 1
