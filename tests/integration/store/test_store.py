"""Reads, compares and watches against real etcd, including one that crashes, hangs, restarts and compacts."""

import json
import subprocess
import threading
import urllib.request
from collections.abc import Sequence

import pytest
from fixtures.etcd import EtcdServer
from fixtures.waiting import wait_until

from hamgr.store import Change, CompareFailed, Store, StoreUnavailable
from hamgr.store.store import MAX_OPERATIONS

pytestmark = pytest.mark.etcd


class Seen:
    """Collects what a watch delivers."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.revisions: list[int] = []

    def __call__(self, changes: Sequence[Change], revision: int) -> None:
        self.changes += changes
        self.revisions.append(revision)

    def last(self) -> dict[str, object]:
        return {change.key: change.value for change in self.changes}


def test_snapshot_covers_a_prefix_at_one_revision(store: Store) -> None:
    first = store.compare_and_put("state/a", {"x": 1}, 0)
    second = store.compare_and_put("state/b", [1, 2], 0)
    store.compare_and_put("status", "elsewhere", 0)
    snapshot = store.read("state/")
    assert snapshot.values == {"state/a": {"x": 1}, "state/b": [1, 2]}
    assert snapshot.mod_revision("state/a") == first
    assert second < snapshot.revision
    assert store.get("nothing") is None


def test_compare_and_put_refuses_a_stale_writer(store: Store) -> None:
    first = store.compare_and_put("config", "one", 0)
    store.compare_and_put("config", "two", first)
    with pytest.raises(CompareFailed, match="config was changed by somebody else"):
        store.compare_and_put("config", "three", first)
    with pytest.raises(CompareFailed):
        store.compare_and_put("config", "three", 0)
    assert store.read("config").values == {"config": "two"}


def test_a_value_that_is_no_json_counts_as_absent_and_is_named(etcd_server: EtcdServer, store: Store) -> None:
    etcdctl(etcd_server, "put", "/hamgr/t/state/odd", "{not json")
    store.compare_and_put("state/good", 1, 0)
    snapshot = store.read("state/")
    assert snapshot.values == {"state/good": 1}
    assert snapshot.malformed == ("state/odd",)


def test_a_transaction_beyond_etcds_limit_is_refused_before_it_is_sent(store: Store) -> None:
    with pytest.raises(ValueError, match="one transaction takes"):
        store.transact(puts={f"k{n}": n for n in range(MAX_OPERATIONS + 1)})


def test_watch_delivers_puts_and_deletes_of_one_transaction_together(store: Store) -> None:
    store.compare_and_put("state/old", 0, 0)
    seen = Seen()
    watch = store.watch(store.read("state/"), seen)
    store.transact(puts={"state/a": 1, "state/b": 2}, deletes=["state/old"])
    store.transact(puts={"other": 3})
    wait_until(lambda: len(seen.changes) == 3)
    watch.stop()
    assert len(seen.revisions) == 1
    assert seen.last() == {"state/a": 1, "state/b": 2, "state/old": None}


def test_watch_misses_nothing_while_etcd_is_killed_and_restarted(etcd_server: EtcdServer, store: Store) -> None:
    seen = Seen()
    watch = store.watch(store.read("state/"), seen)
    for number in range(30):
        if number % 10 == 5:
            etcd_server.kill()
            etcd_server.start()
        store.transact(puts={f"state/{number}": number})
    wait_until(lambda: len(seen.last()) == 30)
    watch.stop()
    assert seen.last() == {f"state/{number}": number for number in range(30)}
    assert seen.revisions == sorted(seen.revisions)


def test_watch_reads_again_after_compaction(etcd_server: EtcdServer, store: Store) -> None:
    store.compare_and_put("state/gone", 1, 0)
    snapshot = store.read("state/")
    store.transact(deletes=["state/gone"], puts={"state/new": 1})
    store.transact(puts={"state/new": 2})
    body = json.dumps({"revision": store.read("").revision}).encode()
    urllib.request.urlopen(f"{etcd_server.endpoint}/v3/kv/compaction", data=body, timeout=5).read()
    seen = Seen()
    watch = store.watch(snapshot, seen)
    wait_until(lambda: seen.last() == {"state/gone": None, "state/new": 2})
    watch.stop()


def test_watch_on_a_hung_member_hears_of_changes_from_the_others(etcd_cluster: list[EtcdServer], open_store) -> None:  # type: ignore[no-untyped-def]
    watcher = open_store(*etcd_cluster)
    writer = open_store(*etcd_cluster[1:])
    seen = Seen()
    watch = watcher.watch(watcher.read("state/"), seen)
    writer.transact(puts={"state/before": 1})
    wait_until(lambda: "state/before" in seen.last())
    etcd_cluster[0].freeze()
    writer.transact(puts={"state/during": 1})
    wait_until(lambda: "state/during" in seen.last())
    etcd_cluster[0].thaw()
    watch.stop()


def test_a_call_goes_to_another_member_when_one_hangs_or_dies(etcd_cluster: list[EtcdServer], open_store) -> None:  # type: ignore[no-untyped-def]
    store = open_store(*etcd_cluster, request_timeout_s=15.0)
    for victim in etcd_cluster:
        victim.freeze()
        revision = store.compare_and_put(f"frozen/{victim.name}", 1, 0)
        victim.thaw()
        assert store.read("frozen/").mod_revision(f"frozen/{victim.name}") == revision
    for victim in etcd_cluster:
        victim.kill()
        store.compare_and_put(f"killed/{victim.name}", 1, 0)
        victim.start()
    assert len(store.read("killed/").values) == 3


def test_a_failing_callback_does_not_end_the_watch(store: Store) -> None:
    seen: list[str] = []

    def callback(changes: Sequence[Change], _revision: int) -> None:
        seen.append(changes[0].key)
        raise RuntimeError("odd change")

    watch = store.watch(store.read("state/"), callback)
    store.transact(puts={"state/a": 1})
    wait_until(lambda: seen == ["state/a"])
    store.transact(puts={"state/b": 1})
    wait_until(lambda: seen == ["state/a", "state/b"])
    watch.stop()


def test_no_callback_after_stop(store: Store) -> None:
    seen = Seen()
    watch = store.watch(store.read("state/"), seen)
    watch.stop()
    store.transact(puts={"state/a": 1})
    assert watch.revision < store.read("").revision
    assert not seen.changes


def test_silence_grows_while_etcd_hangs_and_ends_with_it(etcd_server: EtcdServer, store: Store) -> None:
    watch = store.watch(store.read("state/"), Seen())
    etcd_server.freeze()
    wait_until(lambda: store.staleness_s() > 2.0 and watch.age_s() > 2.0)
    etcd_server.thaw()
    wait_until(lambda: store.staleness_s() < 1.0 and watch.age_s() < 1.0)
    watch.stop()


def test_an_outage_ends_in_a_sentence(etcd_server: EtcdServer, store: Store) -> None:
    store.check()
    etcd_server.kill()
    with pytest.raises(StoreUnavailable, match=f"no member of etcd answers.*{etcd_server.endpoint}.*last answer"):
        store.read()
    etcd_server.start()
    assert store.read().values == {}


def test_threads_share_a_store(store: Store) -> None:
    failures: list[BaseException] = []

    def count_up() -> None:
        try:
            for _ in range(20):
                entry = store.get("counter")
                while True:
                    try:
                        value = 0 if entry is None else entry.value
                        store.compare_and_put("counter", value + 1, 0 if entry is None else entry.mod_revision)
                        break
                    except CompareFailed:
                        entry = store.get("counter")
        except BaseException as error:  # noqa: BLE001  (a thread's failure must reach the test)
            failures.append(error)

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    # Equal values from two threads at the same revision cannot both succeed, so no count is lost.
    assert store.read("counter").values == {"counter": 80}


def etcdctl(server: EtcdServer, *arguments: str) -> str:
    """etcd's own client, for what hamgr never does."""
    command = ["etcdctl", f"--endpoints={server.endpoint}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"ETCDCTL_API": "3"}).stdout
