"""Commands against a real etcd, a leader made of the store's own parts."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.etcd import EtcdServer
from fixtures.waiting import wait_until

from hamgr.api.events import Event
from hamgr.api.requests import Standby
from hamgr.api.status import NodeStatus, ResourceStatus, StatusDoc
from hamgr.cli.leader_client import ask_through
from hamgr.cli.main import main
from hamgr.fencer.history import EtcdRecords
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import Outcome, Phase, Proof, StepTime, Target, new_record
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.store import EventLog, Leadership, RequestQueue, Requests, RequestTimeout, Store, StoreConfig

pytestmark = pytest.mark.etcd

EXAMPLE = Path(__file__).parents[3] / "config/examples/mariadb-cluster.yaml"


@pytest.fixture
def store(etcd_server: EtcdServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    """A store, and an environment in which `hamgr` finds the same etcd by a settings file."""
    settings = tmp_path / "hamgrd.yaml"
    settings.write_text(f"cluster: sandbox\nnode: n1\netcd: {{endpoints: ['{etcd_server.endpoint}']}}\n")
    monkeypatch.setenv("HAMGR_CONFIG", str(settings))
    monkeypatch.delenv("HAMGR_ETCD_ENDPOINTS", raising=False)
    monkeypatch.delenv("HAMGR_CLUSTER", raising=False)
    opened = Store(StoreConfig((etcd_server.endpoint,), cluster="sandbox", silence_s=0.3))
    yield opened
    opened.close()


@pytest.fixture
def leadership(store: Store) -> Iterator[Leadership]:
    leading = Leadership(store, "n1", ttl_s=60)
    assert leading.campaign() is not None
    yield leading
    leading.resign()


class Leader:
    """Answers requests in a thread of its own, by a table of functions."""

    def __init__(self, store, leadership, answers):
        self.queue = RequestQueue(store, leadership)
        self.taken = []
        self._answers = answers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while not self._stop.wait(0.02):
            for request in self.queue.take():
                self.taken.append((request.kind, request.body))
                self._answers(self.queue, request)

    def stop(self):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def leader(store, leadership):
    running = []

    def start(answers):
        running.append(Leader(store, leadership, answers))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def test_status_is_what_the_leader_published(store, leadership, capsys):
    doc = StatusDoc("sandbox", leader="n1", quorum=True, nodes=(NodeStatus("n1", online=True),))
    leadership.fenced_txn(puts={"status": doc.to_value()})
    assert main(["status"]) == 0
    assert "  * Online: [ n1 ]" in capsys.readouterr().out
    assert main(["status", "--output", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["cluster"], shown["led"], shown["nodes"][0]["name"]) == ("sandbox", True, "n1")
    assert (shown["verdict"], shown["findings"], shown["warnings"]) == ("OK", [], [])
    assert main(["status", "-s"]) == 0
    assert capsys.readouterr().out.startswith("CLUSTER OK")
    leadership.resign()
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert "Current DC: NONE" in shown
    assert "Warnings:\n  * CRITICAL: nobody leads, so nothing is decided, moved or fenced, and no hamgrd runs" in shown
    store.transact(puts={"members/n1": {"node": "n1"}})
    assert main(["status"]) == 0
    assert "though hamgrd runs on n1. One of them leads within seconds, unless" in capsys.readouterr().out
    assert main(["status", "-s"]) == 2
    assert capsys.readouterr().out.startswith("CLUSTER CRIT: nobody leads")
    assert main(["status", "--output", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["verdict"], shown["findings"][0]["code"]) == ("CRIT", "no-leader")
    assert shown["warnings"] == [shown["findings"][0]["text"]]


def test_no_status_yet_says_why(store, capsys):
    assert main(["status"]) == 105
    assert "nothing about a cluster 'sandbox' in etcd" in capsys.readouterr().err


def test_apply_stores_the_text_once(store, capsys):
    assert main(["apply", "-f", str(EXAMPLE)]) == 0
    assert "cluster sandbox: applied as revision" in capsys.readouterr().out
    first = store.get("config")
    assert first.value["text"] == EXAMPLE.read_text()
    assert "@" in first.value["applied_by"]
    assert main(["apply", "-f", str(EXAMPLE)]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert store.get("config").mod_revision == first.mod_revision


def test_apply_names_the_nodes_that_have_to_be_emptied(store, capsys):
    running = (NodeStatus("n9", online=True, resources_running=2), NodeStatus("n8", online=True))
    store.compare_and_put("status", StatusDoc("sandbox", nodes=running).to_value(), 0)
    assert main(["apply", "-f", str(EXAMPLE)]) == 0
    said = capsys.readouterr().out
    assert "node n9 is not in the file any more and runs something: it is emptied first" in said
    assert "n8" not in said


def test_apply_refuses_another_clusters_file(store, tmp_path, capsys):
    other = tmp_path / "other.yaml"
    other.write_text("cluster: other\nnodes: [n1]\n")
    assert main(["apply", "-f", str(other)]) == 78
    assert "the file is for cluster 'other', this is cluster 'sandbox'" in capsys.readouterr().err
    assert store.get("config") is None


def test_apply_stores_nothing_of_a_wrong_file(store, tmp_path, capsys):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("cluster: sandbox\nnodes: [n1]\nresources: [{id: a, agent: nonsense}]\n")
    assert main(["apply", "-f", str(wrong)]) == 78
    assert "there is no agent 'nonsense'" in capsys.readouterr().err
    assert store.get("config") is None


def test_events_are_shown_oldest_first(store, leadership, capsys):
    log = EventLog(store, leadership)
    events = [Event(f"2026-11-22T21:00:0{n}Z", f"code-{n}", f"text {n}", node=f"n{n % 2}") for n in range(5)]
    log.append(*(event.to_value() for event in events))
    assert main(["events", "-n", "3"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["2", "3", "4"]
    assert main(["events", "--node", "n1", "--output", "json"]) == 0
    assert [json.loads(line)["code"] for line in capsys.readouterr().out.splitlines()] == ["code-1", "code-3"]


@pytest.mark.parametrize(
    ("arguments", "kind", "body", "answer", "shown"),
    [
        (
            ["move", "db", "n2", "--lifetime", "2min"],
            "move",
            {"resource": "db", "node": "n2", "role": "", "lifetime_s": 120.0},
            {"constraint": "cli-prefer-db"},
            "db now prefers n2 (constraint cli-prefer-db); undo: hamgr clear db",
        ),
        (
            ["ban", "db", "n2", "--promoted"],
            "ban",
            {"resource": "db", "node": "n2", "role": "Promoted", "lifetime_s": None},
            {"constraint": "c"},
            "db stays off n2 (constraint c)",
        ),
        (["clear", "db"], "clear", {"resource": "db", "node": ""}, {"cleared": ["c"]}, "removed c"),
        (["clear", "db"], "clear", {"resource": "db", "node": ""}, {"cleared": []}, "there was no move or ban of db"),
        (["cleanup"], "cleanup", {"resource": "", "node": ""}, {"cleaned": ["db on n1"]}, "cleaned up db on n1"),
        (
            ["cleanup", "db", "--node", "n1"],
            "cleanup",
            {"resource": "db", "node": "n1"},
            {"cleaned": []},
            "there were no failures",
        ),
        (["enable", "db"], "target-role", {"resource": "db", "role": None}, {}, "db may run"),
        (["unmanage", "db"], "managed", {"resource": "db", "on": False}, {}, "db is left alone; undo: hamgr manage db"),
        (["manage", "db"], "managed", {"resource": "db", "on": True}, {}, "db is managed as the cluster file says"),
        (["disable", "db"], "target-role", {"resource": "db", "role": "Stopped"}, {}, "db is to be stopped"),
        (["standby", "n1"], "standby", {"node": "n1", "on": True}, {}, "n1 is in standby"),
        (["unstandby", "n1"], "standby", {"node": "n1", "on": False}, {}, "n1 takes part again"),
        (["maintenance", "on"], "maintenance", {"node": "", "on": True}, {}, "maintenance of the cluster is on"),
        (["maintenance", "off", "n1"], "maintenance", {"node": "n1", "on": False}, {}, "maintenance of n1 is off"),
        (["unfence", "n1"], "unfence", {"node": "n1"}, {"removed": ["taint"]}, "removed taint\nn1 may take part again"),
    ],
)
def test_requests_reach_the_leader_as_agreed(leader, capsys, arguments, kind, body, answer, shown):
    running = leader(lambda queue, request: queue.answer(request.id, answer))
    assert main(arguments) == 0
    assert running.taken == [(kind, body)]
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["events", "--node", "n9"], 68, "there is no node 'n9' in the cluster: nodes are n1"),
        (["events", "--resource", "bd"], 105, "there is no resource 'bd': resources are group, db"),
        (["events", "--node", "n1", "--resource", "db"], 0, "there are no events about db and n1 on record"),
        (["fence", "history", "n9"], 68, "there is no node 'n9' in the cluster: nodes are n1"),
        (["fence", "history", "n1"], 0, ""),
        (["fence", "history", "shop/db-n1"], 0, ""),
    ],
)
def test_a_name_that_nothing_is_called_is_no_silence(store, capsys, arguments, code, told):
    db = ResourceStatus("group", kind="group", children=(ResourceStatus("db"),))
    store.compare_and_put("status", StatusDoc("sandbox", nodes=(NodeStatus("n1"),), resources=(db,)).to_value(), 0)
    assert main(arguments) == code
    assert told in capsys.readouterr().err


def test_a_refusal_is_the_leaders_sentence_and_code(leader, capsys):
    leader(lambda queue, request: queue.refuse(request.id, "there is no node 'n9': nodes are n1", 68))
    assert main(["standby", "n9"]) == 68
    assert capsys.readouterr().err == "hamgr: there is no node 'n9': nodes are n1\n"


def fence_record(**more):
    record = new_record(Target("n2"), reason("operator", user="root@x"), "root@x", (LevelConfig(Level.VOLUME),))
    return record if not more else record.__class__.from_json({**record.to_json(), **more})


def test_a_fence_is_followed_to_its_proof(store, leadership, leader, capsys):
    record = fence_record()
    records = EtcdRecords(store, leadership)

    def answer(queue, request):
        records.save(record)
        queue.answer(request.id, {"fence": record.id})
        steps = (
            StepTime("volume", Phase.INTENT, record.started_at),
            StepTime("volume", Phase.CUT, record.started_at + 0.1),
        )
        records.save(changed(record, steps=steps[:1]))
        records.save(changed(record, steps=steps))
        proof = Proof("detached", "pv-1", "the VolumeAttachment is gone", "n1")
        records.save(
            changed(
                record,
                steps=steps,
                proofs=(proof,),
                outcome=Outcome.SUCCEEDED,
                ended_at=record.started_at + 1.5,
            )
        )

    leader(answer)
    assert main(["fence", "n2", "--yes", "--level", "volume"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-2] == "n2: succeeded by level volume in 1.5 s"
    assert shown[-1].startswith("proof: ")
    assert "the VolumeAttachment is gone" in shown[-1]
    assert len([line for line in shown[:-2] if line.startswith("  ")]) == 2


def test_a_dry_run_asks_for_the_plan_and_shows_it(leader, capsys):
    levels = [
        {"level": "volume", "steps": ["delete pod a", "delete VolumeAttachment b"], "proves": "detached", "unfit": ""},
        {"level": "node", "steps": [], "proves": "off", "unfit": "no fence device is configured"},
    ]
    running = leader(lambda queue, request: queue.answer(request.id, {"node": "n2", "levels": levels}))
    assert main(["fence", "n2", "--dry-run"]) == 0
    assert running.taken == [("fence-plan", {"target": "n2", "level": ""})]
    assert capsys.readouterr().out.splitlines() == [
        "level volume on n2:",
        "  1. delete pod a",
        "  2. delete VolumeAttachment b",
        "  proves: detached",
        "level node on n2:",
        "  cannot be used: no fence device is configured",
        "nothing was done",
    ]


def changed(record, **more):
    return replace(record, **more)


def test_a_failed_fence_is_an_error(store, leadership, leader, capsys):
    record = fence_record()
    failed = changed(record, outcome=Outcome.FAILED, ended_at=record.started_at + 2)

    def answer(queue, request):
        EtcdRecords(store, leadership).save(failed)
        queue.answer(request.id, {"fence": record.id})

    leader(answer)
    assert main(["fence", "n2", "-y", "--output", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["outcome"] == "failed"


def test_a_fence_that_takes_too_long_goes_on_without_us(store, leadership, leader, capsys):
    record = fence_record()

    def answer(queue, request):
        EtcdRecords(store, leadership).save(record)
        queue.answer(request.id, {"fence": record.id})

    leader(answer)
    assert main(["fence", "n2", "-y", "--timeout", "1"]) == 124
    assert f"not ended within 1 s; fence {record.id} goes on without this command" in capsys.readouterr().err


@pytest.mark.parametrize(("taken", "told"), [(False, "nothing was done"), (True, "it may still be carried out")])
def test_whoever_gives_up_learns_what_becomes_of_the_request(store, leadership, monkeypatch, capsys, taken, told):
    inbox = RequestQueue(store, leadership)

    def impatient(_self, _ticket, _timeout_s):
        if taken:
            inbox.take()
        raise KeyboardInterrupt

    monkeypatch.setattr(Requests, "wait", impatient)
    assert main(["fence", "n2", "--yes"]) == 130
    assert told in capsys.readouterr().err
    assert inbox.take() == []


def test_waiting_for_a_leader_is_not_silent(store, capsys):
    with pytest.raises(RequestTimeout, match="it was called off: nothing was done"):
        ask_through(store, Standby("n1", on=True), timeout_s=0.1)
    assert capsys.readouterr().err == "nobody leads at the moment: waiting up to 0.1 s for a leader\n"


def test_following_events_shows_new_ones(store, leadership, monkeypatch, capsys):
    log = EventLog(store, leadership)
    log.append(Event("2026-11-22T21:00:00Z", "old", "old").to_value())
    seen: list[str] = []

    def echo(text, **_options):
        seen.append(text)
        if "new" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr("hamgr.cli.events.click.echo", echo)
    wait = threading.Thread(
        target=lambda: (wait_until(lambda: seen), log.append(Event("2026-11-22T21:00:01Z", "new", "new").to_value()))
    )
    wait.start()
    try:
        assert main(["events", "--follow"]) == 130
    finally:
        wait.join()
    assert [line.split()[-1] for line in seen] == ["old", "new", "interrupted"]
