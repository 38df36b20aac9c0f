"""Who leads, and what the next leader makes of what the last one left behind."""

from __future__ import annotations

import pytest
from fixtures.waiting import wait_until

from hamgr.store.errors import Deposed

pytestmark = pytest.mark.etcd


def test_the_leader_starts_resources_and_tells_about_it(site):
    site.whole()
    assert site.runs_on("n1")
    status = site.status()
    assert (status.cluster, status.leader, status.quorum, status.members) == ("t", "n1", True, 3)
    assert status.token == site.store.get("leader").create_revision
    assert (status.changed_by, status.changed_at) == ("root@test", "2026-11-22T21:00:00Z")
    assert [(node.name, node.online, node.hamgrd) for node in status.nodes] == [(n, True, True) for n in site.nodes]
    assert site.resource("db").nodes == ("n1",)
    assert status.failed == ()
    assert [event.text for event in site.events("leader")] == ["n1 leads"]
    assert any("Start" in event.text and "db" in event.text for event in site.events("decision"))
    assert site.events("transition_ended")


def test_nothing_is_started_before_each_node_was_looked_at(site):
    site.whole()
    before_start = site.agent.calls[: site.agent.calls.index(("start", "db", "n1"))]
    assert {("monitor", "db", node) for node in site.nodes} <= set(before_start)


def test_one_of_two_leads_and_the_other_takes_over_without_touching_what_runs(site):
    first = site.whole()
    site.start("n2")
    first.stop()
    wait_until(lambda: site.leader() == "n2")
    wait_until(site.idle)
    assert site.runs_on("n1")
    assert site.agent.called("start", "n1") == 1
    assert site.agent.called("stop", "n1") == 0
    monitored = site.agent.called("monitor", "n1")
    wait_until(lambda: site.agent.called("monitor", "n1") > monitored + 2)


BY_SWITCH = """
fencing:
  devices:
    - {id: switch, agent: fence_x}
  levels: [switch]
"""


def test_a_leader_whose_own_node_is_to_be_switched_off_leaves_that_to_another(site):
    """Who switches himself off ends the fence one lease later than anybody else would."""
    site.session.decide("n1", "wait")
    site.whole(site.cluster + BY_SWITCH)
    site.start("n2")
    fence = site.ask("fence", {"target": "n1", "level": "", "anyway": False})["fence"]
    wait_until(lambda: site.leader() == "n2")
    wait_until(lambda: site.session.resumed == [fence])
    site.session.decide("n1", "succeed")
    wait_until(lambda: site.store.get(f"fences/{fence}").value["outcome"] == "succeeded")


def test_a_leader_that_nobody_can_relieve_switches_its_own_node_off(site):
    site.session.decide("n1", "wait")
    site.whole(site.cluster + BY_SWITCH)  # the daemons of n2 and n3 do not campaign
    fence = site.ask("fence", {"target": "n1", "level": "", "anyway": False})["fence"]
    wait_until(lambda: site.session.resumed == [fence])
    assert site.leader() == "n1"


def test_a_leader_that_hung_changes_nothing_when_it_wakes(site):
    first = site.whole()
    site.start("n2")
    first.hang()
    site.depose()
    wait_until(lambda: site.leader() == "n2")
    wait_until(site.idle)
    token = first.controller.leadership.token
    with pytest.raises(Deposed):
        first.controller.leadership.fenced_txn(puts={"state/nodes/n3": {"standing": "lost"}})
    writes = site.cluster_state("n3")
    first.go_on()
    wait_until(lambda: first.controller.leadership.token is None)
    assert site.leader() == "n2"
    assert site.cluster_state("n3") == writes
    assert site.store.get("leader").create_revision > token.revision
    assert site.runs_on("n1")
    assert site.agent.called("start", "n1") == 1


def test_a_leader_that_hangs_loses_its_lease_by_itself(site):
    """The loop renews the lease, nobody else: so a loop that hangs is replaced."""
    first = site.whole()
    site.start("n2")
    first.hang()
    wait_until(lambda: site.leader() == "n2")
    assert not first.controller.leadership.valid()


def test_an_operation_of_unknown_end_is_probed_by_the_next_leader(site):
    gate = site.agent.hold("start", "n1")
    site.join(*site.nodes)
    site.apply()
    first = site.start("n1")
    wait_until(lambda: site.agent.called("start", "n1") == 1)
    first.hang()
    probes = site.agent.called("monitor", "n1")
    site.start("n2")
    site.depose()
    wait_until(lambda: site.leader() == "n2")
    wait_until(lambda: site.agent.called("monitor", "n1") > probes)
    wait_until(lambda: site.agent.called("start", "n1") == 2)
    gate.set()
    first.go_on()
    wait_until(site.idle)
    assert site.runs_on("n1")
    assert [event.node for event in site.events("operation_unknown")] == ["n1"]


def test_a_result_that_arrives_after_the_term_is_dropped(site):
    """The old leader's action ends well, but the new leader knows it from its own probe alone."""
    first = site.whole()
    gate = site.agent.hold("stop", "n1")
    site.ask("standby", {"node": "n1", "on": True})
    wait_until(lambda: site.agent.called("stop", "n1") == 1)
    first.hang()
    site.start("n2")
    site.depose()
    wait_until(lambda: site.leader() == "n2")
    wait_until(lambda: site.agent.called("stop", "n1") == 2)
    assert site.agent.called("start", "n2") + site.agent.called("start", "n3") == 0
    gate.set()
    first.go_on()
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    wait_until(site.idle)
    assert site.agent.called("start", "n2") + site.agent.called("start", "n3") == 1


def test_the_configuration_is_taken_over_while_leading(site):
    site.whole()
    site.apply(site.cluster + "  - location: {resource: db, node: n2, score: 1000}\n")
    wait_until(lambda: site.runs_on("n2"))


def test_a_configuration_that_cannot_be_used_leaves_the_last_one_in_force(site):
    site.whole()
    site.apply("cluster: t\nnodes: [n1, n2, n3]\nresources: [{id: db, agent: nonsense}]\n")
    wait_until(lambda: any("there is no agent 'nonsense'" in warning for warning in site.status().warnings))
    assert site.runs_on("n1")
    site.ask("move", {"resource": "db", "node": "n2"})
    wait_until(lambda: site.runs_on("n2"))
    site.apply()
    wait_until(lambda: not any("nonsense" in warning for warning in site.status().warnings))
    assert site.agent.doubles == []


def test_a_leader_without_a_usable_configuration_touches_nothing(site):
    site.join(*site.nodes)
    site.apply("cluster: t\nnodes: [")
    site.start()
    wait_until(lambda: any("cannot be used" in warning for warning in site.status().warnings))
    site.silence("n3")
    site.apply()
    wait_until(lambda: site.runs_on("n1"))


def test_etcd_killed_and_back_stops_nothing_and_fences_nobody(site, etcd_server):
    site.whole()
    token = site.store.get("leader").create_revision
    etcd_server.kill()
    monitored = site.agent.called("monitor", "n1")
    etcd_server.start()
    wait_until(lambda: site.leader() == "n1")
    wait_until(site.idle)
    wait_until(lambda: site.agent.called("monitor", "n1") > monitored + 2)
    assert site.runs_on("n1")
    assert site.agent.called("stop", "n1") == 0
    assert site.agent.called("start", "n1") == 1
    assert site.session.asked == []
    assert site.store.get("leader").create_revision >= token


def test_etcd_frozen_for_longer_than_a_lease_stops_nothing_and_fences_nobody(site, etcd_server):
    first = site.whole()
    etcd_server.freeze()
    wait_until(lambda: not first.controller.leadership.valid())
    etcd_server.thaw()
    wait_until(lambda: site.leader() == "n1" and site.idle())
    monitored = site.agent.called("monitor", "n1")
    wait_until(lambda: site.agent.called("monitor", "n1") > monitored + 2)
    assert site.agent.called("stop", "n1") == 0
    assert site.agent.called("start", "n1") == 1
    assert site.session.asked == []
