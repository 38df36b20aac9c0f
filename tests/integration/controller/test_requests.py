"""Each kind of request of docs/architecture.md: what it does, and how it is refused."""

from __future__ import annotations

import pytest
from fixtures.waiting import wait_until

from hamgr.fencer.topology import Level
from hamgr.store.requests import RequestRefused

pytestmark = pytest.mark.etcd


def test_a_move_goes_there_and_clear_takes_it_back(site):
    site.whole()
    assert site.ask("move", {"resource": "db", "node": "n2", "role": "", "lifetime_s": None}) == {
        "constraint": "cli-prefer-db"
    }
    wait_until(lambda: site.runs_on("n2"))
    assert site.ask("clear", {"resource": "db", "node": ""}) == {"cleared": ["cli-prefer-db"]}
    assert site.ask("clear", {"resource": "db", "node": ""}) == {"cleared": []}
    wait_until(site.idle)
    assert site.runs_on("n2")  # stickiness of 100 beats the preference of 50


def test_a_ban_drives_away_is_shown_and_outlives_the_leader(site):
    first = site.whole()
    assert site.ask("ban", {"resource": "db", "node": "n1"}) == {"constraint": "cli-ban-db-on-n1"}
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    wait_until(lambda: [(ban.constraint, ban.node) for ban in site.status().bans] == [("cli-ban-db-on-n1", "n1")])
    site.start("n2")
    first.stop()
    wait_until(lambda: site.leader() == "n2" and site.idle())
    assert [ban.node for ban in site.status().bans] == ["n1"]
    assert site.ask("clear", {"resource": "db", "node": "n1"}) == {"cleared": ["cli-ban-db-on-n1"]}


def test_a_ban_runs_out(site):
    site.whole()
    site.ask("ban", {"resource": "db", "node": "n1", "lifetime_s": 1})
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    wait_until(lambda: site.store.get("state/overrides").value["locations"] == [])
    wait_until(lambda: site.status().bans == ())


def test_standby_empties_a_node_and_applying_the_file_again_does_not_undo_it(site):
    site.whole()
    assert site.ask("standby", {"node": "n1", "on": True}) == {}
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    site.apply(site.cluster + "tags: {all: [db]}\n")
    site.ask("fence-plan", {"target": "n1", "level": ""})  # the loop has gone round since
    wait_until(lambda: next(node for node in site.status().nodes if node.name == "n1").standby)
    assert "n1" not in site.agent.where("db")
    assert site.ask("standby", {"node": "n1", "on": False}) == {}
    wait_until(lambda: not next(node for node in site.status().nodes if node.name == "n1").standby)


def test_maintenance_of_the_cluster_ends_monitoring_and_restarts_nothing(site):
    site.whole()
    assert site.ask("maintenance", {"node": "", "on": True}) == {}
    wait_until(lambda: site.status().maintenance and site.status().transition is None)
    wait_until(lambda: not site.resource("db").managed)
    site.agent.vanish("n1")
    site.ask("maintenance", {"node": "", "on": False})
    wait_until(lambda: site.runs_on("n1"))  # the failure was found once it was managed again


def test_maintenance_of_one_node(site):
    site.whole()
    assert site.ask("maintenance", {"node": "n1", "on": True}) == {}
    wait_until(lambda: next(node for node in site.status().nodes if node.name == "n1").maintenance)
    site.ask("ban", {"resource": "db", "node": "n1"})
    wait_until(lambda: site.status().bans != () and site.status().transition is None)
    assert site.runs_on("n1")  # left alone
    site.ask("maintenance", {"node": "n1", "on": False})
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))


def test_disable_stops_and_enable_starts(site):
    site.whole()
    assert site.ask("target-role", {"resource": "db", "role": "Stopped"}) == {}
    wait_until(lambda: site.agent.where("db") == set())
    wait_until(lambda: site.status().disabled == 1)
    assert site.ask("target-role", {"resource": "db", "role": None}) == {}
    wait_until(lambda: site.runs_on("n1"))


def test_an_unmanaged_resource_is_left_where_it_is_until_it_is_managed_again(site):
    site.whole()
    assert site.ask("managed", {"resource": "db", "on": False}) == {}
    wait_until(lambda: not site.resource("db").managed)
    site.ask("ban", {"resource": "db", "node": "n1"})
    wait_until(lambda: site.status().bans != () and site.status().transition is None)
    assert site.runs_on("n1")
    assert site.ask("managed", {"resource": "db", "on": True}) == {}
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))


def test_a_cleanup_forgives_and_looks_again(site):
    site.agent.failing[("start", "n1")] = 1
    site.whole()
    assert site.agent.where("db") != {"n1"}
    site.agent.failing.clear()
    assert site.ask("cleanup", {"resource": "", "node": "n2"}) == {"cleaned": []}
    assert site.ask("cleanup", {"resource": "db", "node": ""}) == {"cleaned": ["db on n1"]}
    wait_until(lambda: site.status().failcounts == () and site.status().failed == ())


def test_fencing_a_healthy_node_moves_what_runs_there(site):
    site.whole()
    site.session.decide("n1", "wait")
    answer = site.ask("fence", {"target": "n1", "level": ""})
    assert answer == {"fence": site.session.asked[0].id}
    assert site.ask("fence", {"target": "n1", "level": ""}) == answer  # the one that is under way
    assert site.session.asked[0].reason.code == "operator"
    assert site.runs_on("n1")
    site.silence("n1")  # power off: the daemon goes with it
    wait_until(lambda: site.cluster_state("n1")["standing"] == "lost")
    site.session.decide("n1", "succeed")
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    assert len(site.session.asked) == 1


def test_a_fence_by_a_named_level(site):
    site.whole()
    site.ask("fence", {"target": "n3", "level": "manual"})
    assert [level.level for level in site.session.asked[0].levels] == [Level.MANUAL]


def test_a_plan_changes_nothing(site):
    site.whole()
    plan = site.ask("fence-plan", {"target": "n2", "level": "volume"})
    assert plan == {
        "node": "n2",
        "levels": [{"level": "volume", "steps": ["one step"], "proves": "a proof", "unfit": ""}],
    }
    assert site.session.asked == []
    assert site.store.read("fences/").entries == {}


def test_a_confirmation_is_recorded_with_who_gave_it(site):
    site.whole()
    with pytest.raises(RequestRefused, match="its hamgrd holds its lease") as refused:
        site.ask("confirm", {"node": "n3", "reason": "I pulled the plug"})
    assert refused.value.exit_code == 69
    assert site.session.asked == []
    site.ask("confirm", {"node": "n3", "reason": "I pulled the plug", "anyway": True})
    (record,) = site.session.asked
    assert "who was told that node n3 is a member" in str(record.reason)
    assert record.confirmation.reason == "I pulled the plug"
    assert "@" in record.confirmation.user
    assert [level.level for level in record.levels] == [Level.MANUAL]


def test_a_confirmation_takes_the_place_of_the_fence_that_hangs(site):
    site.whole()
    site.session.decide("n1", "wait")
    site.join("n2")
    site.session.agent.dead.add("n1")
    site.silence("n1")
    wait_until(lambda: site.session.asked)
    (older,) = site.session.asked
    site.agent.vanish("n1")
    confirmed = site.ask("confirm", {"node": "n1", "reason": "I pulled the plug"})["fence"]

    def outcomes():
        found = {key: entry.value["outcome"] for key, entry in site.store.read("fences/").entries.items()}
        return found == {f"fences/{older.id}": "superseded", f"fences/{confirmed}": "succeeded"}

    wait_until(outcomes)
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    assert site.agent.doubles == []


REFUSALS = {
    "a field of another version": ("standby", {"node": "n1", "on": True, "soon": 1}, 78, "there is no 'soon'"),
    "an unknown kind": ("dance", {}, 78, "does not know the request 'dance'"),
    "fence of nothing": ("fence", {"target": "n9"}, 105, "neither a node nor a pod of hamgr's called 'n9'"),
    "fence by no level": ("fence", {"target": "n1", "level": "magic"}, 64, "there is no fencing level 'magic'"),
    "plan for nothing": ("fence-plan", {"target": "n9"}, 105, "nodes are n1, n2, n3"),
    "confirm for nobody": ("confirm", {"node": "n9", "reason": ""}, 68, "there is no node 'n9'"),
    "unfence of what was not fenced": ("unfence", {"node": "n1"}, 105, "was not fenced"),
    "unfence of nobody": ("unfence", {"node": "n9"}, 68, "nodes are n1, n2, n3"),
    "cleanup of nothing": ("cleanup", {"resource": "x", "node": ""}, 105, "there is no resource 'x'"),
    "cleanup of nobody": ("cleanup", {"resource": "", "node": "n9"}, 68, "there is no node 'n9'"),
    "move of nothing": ("move", {"resource": "x", "node": "n1"}, 105, "resources are"),
    "move to nowhere": ("move", {"resource": "db", "node": "n9"}, 68, "there is no node 'n9'"),
    "ban of nothing": ("ban", {"resource": "", "node": "n1"}, 105, "there is no resource ''"),
    "ban from nowhere": ("ban", {"resource": "db", "node": ""}, 68, "there is no node ''"),
    "clear of nothing": ("clear", {"resource": "x", "node": ""}, 105, "there is no resource 'x'"),
    "standby of nobody": ("standby", {"node": "", "on": True}, 68, "there is no node ''"),
    "maintenance of nobody": ("maintenance", {"node": "n9", "on": True}, 68, "there is no node 'n9'"),
    "no such role": ("target-role", {"resource": "db", "role": "King"}, 64, "'King' is no role"),
    "role of nothing": ("target-role", {"resource": "x", "role": "Stopped"}, 105, "there is no resource 'x'"),
    "a body that is none": ("standby", "n1", 78, "'n1' where Standby belongs"),
    "a lifetime that is none": ("move", {"resource": "db", "node": "n2", "lifetime_s": "soon"}, 78, "'soon'"),
    "a role of another type": ("target-role", {"resource": "db", "role": ["Stopped"]}, 78, "['Stopped']"),
}


def test_each_refusal_is_a_sentence_with_a_code_and_changes_nothing(site):
    site.whole()
    token = site.store.get("leader").create_revision
    calls = site.agent.called("start", "n1"), site.agent.called("stop", "n1")
    for name, (kind, body, code, words) in REFUSALS.items():
        with pytest.raises(RequestRefused) as refused:
            site.ask(kind, body)
        assert (refused.value.exit_code, words in str(refused.value)) == (code, True), f"{name}: {refused.value}"
    assert site.store.get("leader").create_revision == token  # the leader took no harm
    assert site.store.get("state/overrides") is None
    assert site.session.asked == []
    assert (site.agent.called("start", "n1"), site.agent.called("stop", "n1")) == calls


def test_without_a_cluster_file_every_request_is_refused(site):
    site.join("n1")
    site.start()
    with pytest.raises(RequestRefused, match="no cluster file was applied yet") as refused:
        site.ask("standby", {"node": "n1", "on": True})
    assert refused.value.exit_code == 78


def test_a_request_that_nobody_could_take_is_taken_by_the_next_leader(site):
    first = site.whole()
    first.stop()
    wait_until(lambda: site.leader() == "")
    requests = site.requests
    ticket = requests.submit("ban", {"resource": "db", "node": "n1"})
    site.start("n2")
    assert requests.wait(ticket, 20) == {"constraint": "cli-ban-db-on-n1"}
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))


def test_a_node_that_is_taken_out_of_the_file_is_emptied_first(site):
    site.whole()
    site.ask("maintenance", {"node": "", "on": True})
    site.apply(site.cluster.replace("nodes: [n1, n2, n3]", "nodes: [n2, n3]").partition("constraints:")[0])
    wait_until(lambda: any("n1 is not in the cluster file any more" in text for text in site.status().warnings))
    assert site.runs_on("n1")
    with pytest.raises(RequestRefused, match="only kept until nothing runs there") as refused:
        site.ask("move", {"resource": "db", "node": "n1", "role": "", "lifetime_s": None})
    assert refused.value.exit_code == 68
    site.ask("maintenance", {"node": "", "on": False})
    wait_until(lambda: site.agent.where("db") in ({"n2"}, {"n3"}))
    wait_until(lambda: [node.name for node in site.status().nodes] == ["n2", "n3"])
    assert site.store.get("state/nodes/n1") is None
