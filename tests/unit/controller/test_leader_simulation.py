"""A term of leadership under random events from a seed: members come and go, operations and fences end in every way,
leaders change, etcd is silent, operators ask for things.

Checked all the time: nothing is started on a node while it really runs on another; no fence begins without the token.
Checked at the end, when everything goes well again: the leader comes to rest, with each resource running once.
`HAMGR_SIMULATIONS=N` runs N seeds instead of a few, `HAMGR_SIMULATION_SEED=S` begins at seed S.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest
from fixtures.leader_world import NODES, World

from hamgr.cib import history
from hamgr.controller.fencing.targets import PodTarget
from hamgr.executor.ocf import ExecStatus
from hamgr.fencer.reasons import reason

COUNT = int(os.environ.get("HAMGR_SIMULATIONS", "30"))
FIRST = int(os.environ.get("HAMGR_SIMULATION_SEED", "1"))
STEPS = 150
RESOURCES = ("disk", "db", "web")


class Play:
    """One seed's events."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.world = World()
        self.world.settle()
        self.world.chance = self.chance
        self.events: list[str] = []
        self._acts: list[tuple[int, Callable[[], str]]] = [
            (60, self.operation_ends),
            (6, self.operation_fails),
            (10, self.fence_ends),
            (3, self.fence_fails),
            (5, self.node_is_lost),
            (6, self.node_joins),
            (4, self.instance_dies),
            (3, self.leader_changes),
            (2, self.etcd_comes_or_goes),
            (3, self.guard_changes_its_mind),
            (1, self.somebody_fences_a_node),
            (2, self.somebody_fences_a_pod),
            (1, self.somebody_cleans_up),
            (2, self.somebody_stops_or_starts),
            (8, lambda: "time passes"),
        ]

    def step(self) -> None:
        acts = [act for _, act in self._acts]
        act = self.chance.choices(acts, [weight for weight, _ in self._acts])[0]
        self.events.append(act())
        self.world.advance(self.chance.choice((0.2, 0.2, 1.0, 70.0)))
        assert self.world.violations == []

    def heal(self) -> None:
        """From now on everything goes well, but for one node perhaps that stays away; failures are cleaned up."""
        world = self.world
        world.etcd.answering = True
        world.refusals.clear()
        away = self.chance.choice((*NODES, ""))
        self.events.append(f"all goes well, {away or 'nobody'} stays away")
        for node in NODES:
            if node == away and node in world.members:
                world.lose(node)
            elif node != away and node not in world.members:
                world.join(node)
        world.settle()
        self.somebody_cleans_up()
        self._override("Started")
        world.settle()
        self.check_rest(away)

    def check_rest(self, away: str) -> None:
        """Everything runs once, where it can, and is watched."""
        world = self.world
        assert world.violations == []
        assert {name: len(world.where(name)) for name in RESOURCES} == dict.fromkeys(RESOURCES, 1)
        assert world.where("disk") == world.where("db")
        assert away not in {node for _, node in world.truth}
        assert {(op.name, op.node) for op in world.executor.monitors.values()} == world.truth

    def operation_ends(self) -> str:
        if not self.world.executor.in_flight:
            return "nothing in flight"
        op = self.chance.choice(self.world.executor.in_flight)
        self.world.end(op)
        return f"{op.task} of {op.name} on {op.node} ends"

    def operation_fails(self) -> str:
        if not self.world.executor.in_flight:
            return "nothing in flight"
        op = self.chance.choice(self.world.executor.in_flight)
        status = self.chance.choice((ExecStatus.DONE, ExecStatus.TIMEOUT))
        self.world.end(op, 1, status)
        return f"{op.task} of {op.name} on {op.node} fails: {status.name}"

    def fence_ends(self, *, succeeded: bool = True) -> str:
        if not self.world.fencer.running:
            return "no fence"
        record = self.chance.choice(list(self.world.fencer.running.values()))
        self.world.fenced(record, succeeded=succeeded)
        return f"fence of {record.target.node} {record.target.pods or ''} ends: {succeeded}"

    def fence_fails(self) -> str:
        return self.fence_ends(succeeded=False)

    def node_is_lost(self) -> str:
        node = self.chance.choice(NODES)
        if node in self.world.members:
            self.world.lose(node)
        return f"{node} is lost"

    def node_joins(self) -> str:
        node = self.chance.choice(NODES)
        if node not in self.world.members:
            self.world.join(node)
        return f"{node} joins"

    def instance_dies(self) -> str:
        monitors = list(self.world.executor.monitors.values())
        if not monitors:
            return "nothing is monitored"
        op = self.chance.choice(monitors)
        self.world.truth.discard((op.name, op.node))
        self.world.report(op, 7)
        return f"{op.name} on {op.node} dies"

    def leader_changes(self) -> str:
        self.world.etcd.answering = True
        self.world.lead()
        return "another leads"

    def etcd_comes_or_goes(self) -> str:
        self.world.etcd.answering = not self.world.etcd.answering
        return f"etcd answers: {self.world.etcd.answering}"

    def guard_changes_its_mind(self) -> str:
        node = self.chance.choice(NODES)
        if self.world.refusals.pop(node, None) is None:
            self.world.refusals[node] = "storm"
        return f"fencing refused: {sorted(self.world.refusals)}"

    def somebody_fences_a_node(self) -> str:
        node = self.chance.choice(NODES)
        self.world.leader.fence_node(node, reason("operator", user="somebody"), "somebody")
        return f"somebody fences {node}"

    def somebody_fences_a_pod(self) -> str:
        if not self.world.truth:
            return "nothing runs"
        name, node = self.chance.choice(sorted(self.world.truth))
        self.world.leader.fence_pod(
            PodTarget("default", f"{name}-{node}", name, node), reason("operator", user="somebody"), "somebody"
        )
        return f"somebody fences pod {name}-{node}"

    def somebody_cleans_up(self) -> str:
        cluster_state = self.world.leader.cluster_state
        for node in NODES:
            for resource in history.fail_counts(cluster_state.state(node)):
                cluster_state.update(
                    node,
                    lambda state, r=resource: history.forget_resource(history.clear_failures(state, r), r),  # type: ignore[misc]
                )
        self.world.leader.touch("somebody cleaned up")
        return "somebody cleans up"

    def somebody_stops_or_starts(self) -> str:
        role = self.chance.choice(("Stopped", "Started"))
        self._override(role)
        return f"database is to be {role}"

    def _override(self, role: str) -> None:
        cluster_state = self.world.leader.cluster_state
        cluster_state.set_overrides(cluster_state.overrides.resource_meta("database", "target-role", role))
        self.world.leader.touch("a role was asked for")


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_nothing_runs_twice_and_the_leader_comes_to_rest(seed: int) -> None:
    play = Play(seed)
    try:
        for _ in range(STEPS):
            play.step()
        play.heal()
    except AssertionError:
        print(f"seed {seed}:", *play.events, sep="\n  ")
        raise
