"""Which word on self-fencing a leader goes by: the node's own, of the boot that is meant, and nothing else."""

from hamgr.controller.nodes.observations import NodeObservations
from hamgr.store.membership import Promise
from hamgr.store.values import Change, Entry, Snapshot

WORD = {"self_fence": 4.0, "ttl_s": 5, "boot_id": "boot-1"}


def entry(value):
    return Entry(value, 7, 7)


def snapshot(prefix, **entries):
    return Snapshot(prefix, 9, {f"{prefix}{node}": entry(value) for node, value in entries.items()})


class Nodes:
    """A Kubernetes cache that knows the nodes' boot ids."""

    def __init__(self, **boots):
        self._boots = boots

    def get(self, _kind, name, _namespace=""):
        boot = self._boots.get(name)
        return None if boot is None else {"status": {"nodeInfo": {"bootID": boot}}}


def observations(cache=None, **words):
    return NodeObservations(snapshot("members/"), cache, None, lambda: 100.0, snapshot("promises/", **words))


def test_a_promise_counts_when_the_member_is_gone():
    assert observations(n1=WORD).promise("n1") == Promise(4.0, 5.0, "boot-1")


def test_without_a_promise_there_is_none():
    assert observations(n1=WORD).promise("n2") is None
    assert observations(n1={"self_fence": 4.0}).promise("n1") is None
    assert observations(n1="nonsense").promise("n1") is None


def test_a_promise_of_an_earlier_boot_is_void():
    """The machine has restarted, its kubelet works, its hamgrd does not: nobody there would keep the word."""
    assert observations(Nodes(n1="boot-1"), n1=WORD).promise("n1") is not None
    assert observations(Nodes(n1="boot-2"), n1=WORD).promise("n1") is None


def test_promises_come_and_go():
    seen = observations()
    seen.note([Change("promises/n1", entry(WORD))])
    assert seen.promise("n1") is not None
    assert seen.members == {}
    seen.note([Change("promises/n1", None)])
    assert seen.promise("n1") is None


def joined(boot):
    return Change("members/n1", entry({"node": "n1", "boot_id": boot, "id": "x"}))


def test_a_promise_counts_while_the_kubelet_has_not_reported_the_new_boot_yet():
    """A node that has just restarted: its hamgrd joins seconds before its kubelet says so."""
    seen = observations(Nodes(n1="boot-0"), n1=WORD)
    assert seen.promise("n1") is None  # which of the two is the later boot, nobody knows
    seen.note([joined("boot-0")])
    seen.note([joined("boot-1")])
    assert seen.promise("n1") is not None


def test_a_report_is_outdated_when_the_node_was_a_member_in_that_boot_and_is_one_in_another():
    seen = observations(Nodes(n1="boot-1"))
    assert seen.outdated_boot_id("n1") == ""
    seen.note([joined("boot-1")])
    assert seen.outdated_boot_id("n1") == ""
    seen.note([Change("members/n1", None), joined("boot-2")])
    assert (seen.boot_id("n1"), seen.outdated_boot_id("n1")) == ("boot-2", "boot-1")
    seen.note([joined("boot-2")])
    assert seen.outdated_boot_id("n1") == "boot-1"


def test_a_report_that_is_ahead_of_the_member_entry_is_not_outdated():
    seen = observations(Nodes(n1="boot-2"))
    seen.note([joined("boot-1")])
    assert seen.outdated_boot_id("n1") == ""


def test_a_later_promise_stands_for_an_earlier_one_only_if_it_is_kept_as_soon() -> None:
    now = Promise(self_fence=8.0, ttl_s=10.0, boot_id="boot-1")
    assert now.is_as_good_as(8.0, 10.0)
    assert now.is_as_good_as(4.0, 5.0)
    assert not now.is_as_good_as(7.0, 10.0)


def test_a_report_stays_outdated_however_often_the_node_restarts_before_the_next_one():
    seen = observations(Nodes(n1="boot-1"))
    seen.note([joined("boot-1"), joined("boot-2"), joined("boot-3")])
    assert (seen.boot_id("n1"), seen.outdated_boot_id("n1")) == ("boot-3", "boot-1")
