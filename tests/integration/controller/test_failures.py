"""What the leader makes of resources that fail and nodes that fall silent."""

from __future__ import annotations

import pytest
from fixtures.waiting import wait_until

from hamgr.executor.ocf import Ocf

pytestmark = pytest.mark.etcd


def fail_count(site, node):
    counts = {entry.node: entry.count for entry in site.status().failcounts}
    return counts.get(node, "0")


def test_a_failed_monitor_is_counted_and_the_resource_restarted_in_place(site):
    site.whole()
    site.agent.failing[("monitor", "n1")] = Ocf.ERR_GENERIC
    wait_until(lambda: site.agent.called("stop", "n1") >= 1)
    del site.agent.failing[("monitor", "n1")]
    wait_until(lambda: site.idle() and fail_count(site, "n1") != "0")
    assert site.runs_on("n1")
    (failed,) = site.status().failed
    assert (failed.resource, failed.task, failed.node, failed.rc, failed.rc_text) == ("db", "monitor", "n1", 1, "error")
    assert failed.reason == "told to fail in monitor"
    assert any(event.level == "warning" and event.resource == "db" for event in site.events("operation"))


def test_failures_reach_the_threshold_and_move_the_resource(site):
    site.whole(site.cluster.replace("operations:", "meta: {migration-threshold: 2}\n    operations:"))
    site.agent.failing[("monitor", "n1")] = Ocf.ERR_GENERIC
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    wait_until(lambda: site.idle() and fail_count(site, "n1") == "2")
    assert site.agent.called("start", "n1") == 2


def test_failures_outlive_the_leader(site):
    first = site.whole()
    site.agent.failing[("monitor", "n1")] = Ocf.ERR_GENERIC
    wait_until(lambda: fail_count(site, "n1") != "0")
    del site.agent.failing[("monitor", "n1")]
    wait_until(site.idle)
    before = fail_count(site, "n1")
    site.start("n2")
    first.stop()
    wait_until(lambda: site.leader() == "n2" and site.idle())
    assert fail_count(site, "n1") == before
    assert [failed.node for failed in site.status().failed] == ["n1"]


def test_a_start_that_fails_is_not_tried_there_again(site):
    site.agent.failing[("start", "n1")] = Ocf.ERR_GENERIC
    site.whole()
    assert site.agent.where("db") in ({"n2"}, {"n3"})
    assert site.agent.called("start", "n1") == 1
    assert fail_count(site, "n1") == "INFINITY"


def test_a_stop_that_fails_has_the_node_fenced_first(site):
    site.whole()
    site.session.decide("n1", "wait")
    site.agent.failing[("stop", "n1")] = Ocf.ERR_GENERIC
    site.ask("move", {"resource": "db", "node": "n2"})
    wait_until(lambda: site.session.nodes() == ["n1"])
    assert site.agent.where("db") == {"n1"}
    site.session.decide("n1", "succeed")
    wait_until(lambda: site.runs_on("n2"))


def test_resources_of_a_silent_node_start_elsewhere_once_it_is_fenced(site):
    site.whole()
    site.session.decide("n1", "wait")
    site.agent.dead.add("n1")
    site.silence("n1")
    wait_until(lambda: site.session.nodes() == ["n1"])
    wait_until(lambda: next(node for node in site.status().nodes if node.name == "n1").unclean)
    assert site.agent.called("start", "n2") + site.agent.called("start", "n3") == 0
    (pending,) = site.status().fencing
    assert (pending.target, pending.outcome) == ("n1", "pending")
    site.session.decide("n1", "succeed")
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    wait_until(site.idle)
    assert site.cluster_state("n1")["standing"] == "fenced"
    assert not next(node for node in site.status().nodes if node.name == "n1").online
    (done,) = site.status().fencing
    assert (done.outcome, done.level) == ("succeeded", "volume")
    assert "the disk is detached" in done.proof
    assert any("n1 fenced by level volume" in event.text for event in site.events("fence"))


def test_nothing_starts_after_a_fence_that_failed(site):
    site.whole()
    site.session.decide("n1", "fail")
    site.agent.dead.add("n1")
    site.silence("n1")
    wait_until(lambda: len(site.session.asked) >= 2)  # it is asked for again
    wait_until(lambda: any(event.level == "error" for event in site.events("fence")))
    assert site.agent.called("start", "n2") + site.agent.called("start", "n3") == 0
    assert site.cluster_state("n1")["standing"] == "lost"
    wait_until(lambda: any("have failed (2 in a row)" in w for w in site.status().warnings))  # less and less often
    site.session.decide("n1", "succeed")
    site.ask("fence", {"target": "n1", "level": ""})  # a person is not held back
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))


def test_a_fence_begun_by_the_last_leader_is_ended_by_the_next(site):
    first = site.whole()
    site.session.decide("n1", "wait")
    site.agent.dead.add("n1")
    site.silence("n1")
    wait_until(lambda: site.session.nodes() == ["n1"])
    wait_until(lambda: site.store.read("fences/").entries)
    first.hang()
    site.start("n2")
    site.depose()
    wait_until(lambda: site.leader() == "n2")
    wait_until(lambda: site.session.resumed == [site.session.asked[0].id])
    assert site.agent.called("start", "n2") + site.agent.called("start", "n3") == 0
    site.session.decide("n1", "succeed")
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    wait_until(site.idle)
    assert len(site.store.read("fences/").entries) == 1
    first.go_on()
    wait_until(lambda: first.controller.leadership.token is None)
    assert len(site.store.read("fences/").entries) == 1


def test_a_fenced_node_that_is_back_takes_part_again(site):
    site.whole()
    site.agent.dead.add("n1")
    site.silence("n1")
    wait_until(lambda: site.cluster_state("n1").get("standing") == "fenced")
    wait_until(lambda: site.agent.where("db") - {"n1"})
    wait_until(site.idle)
    (where,) = site.agent.where("db")
    site.agent.dead.clear()
    site.join("n1")
    wait_until(lambda: all(node.online for node in site.status().nodes))
    wait_until(site.idle)
    assert site.agent.where("db") == {where}  # stickiness: it does not move back by itself
    assert site.agent.called("start", "n1") == 1
    assert len(site.session.asked) == 1


def test_when_most_nodes_fall_silent_nobody_is_fenced(site):
    site.whole()
    site.silence("n2", "n3")
    wait_until(lambda: site.events("fencing_held"))
    assert "2 of 3 nodes look bad" in site.events("fencing_held")[0].text
    wait_until(lambda: any("2 of 3 nodes look bad" in warning for warning in site.status().warnings))
    monitored = site.agent.called("monitor", "n1")
    wait_until(lambda: site.agent.called("monitor", "n1") > monitored + 2)
    assert site.session.asked == []
    site.join("n2")
    wait_until(lambda: site.session.nodes() == ["n3"])
    wait_until(lambda: site.cluster_state("n3")["standing"] == "fenced")
    assert site.runs_on("n1")


def test_a_daemon_that_says_goodbye_without_a_kubelet_is_not_left_unfenced(site):
    """Without Kubernetes nothing vouches for a node whose hamgrd has stopped: its resources could run on unseen."""
    site.whole()
    entry = site.store.get("members/n3")
    site.store.transact(puts={"members/n3": {**entry.value, "leaving": True}})
    wait_until(lambda: site.session.nodes() == ["n3"])


def test_in_maintenance_nobody_is_fenced_and_nothing_is_moved(site):
    site.whole()
    site.ask("maintenance", {"node": "", "on": True})
    wait_until(lambda: site.status().maintenance)
    site.silence("n3")
    wait_until(lambda: site.cluster_state("n3")["standing"] == "lost")
    monitored_or_scheduled = site.ask("fence-plan", {"target": "n3", "level": ""})  # the loop has gone round since
    assert monitored_or_scheduled["node"] == "n3"
    assert site.session.asked == []
    site.ask("maintenance", {"node": "", "on": False})
    wait_until(lambda: site.session.nodes() == ["n3"])
    assert site.runs_on("n1")
