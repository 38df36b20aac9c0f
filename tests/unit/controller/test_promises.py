"""Which word on self-fencing a leader goes by: the node's own, of the boot that is meant, and nothing else."""

from hamgr.controller.views import Views
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


def views(cache=None, **words):
    return Views(snapshot("members/"), cache, None, lambda: 100.0, snapshot("promises/", **words))


def test_a_promise_counts_when_the_member_is_gone():
    assert views(n1=WORD).promise("n1") == Promise(4.0, 5.0, "boot-1")


def test_without_a_promise_there_is_none():
    assert views(n1=WORD).promise("n2") is None
    assert views(n1={"self_fence": 4.0}).promise("n1") is None
    assert views(n1="nonsense").promise("n1") is None


def test_a_promise_of_an_earlier_boot_is_void():
    """The machine has restarted, its kubelet works, its hamgrd does not: nobody there would keep the word."""
    assert views(Nodes(n1="boot-1"), n1=WORD).promise("n1") is not None
    assert views(Nodes(n1="boot-2"), n1=WORD).promise("n1") is None


def test_promises_come_and_go():
    seen = views()
    seen.note([Change("promises/n1", entry(WORD))])
    assert seen.promise("n1") is not None
    assert seen.members == {}
    seen.note([Change("promises/n1", None)])
    assert seen.promise("n1") is None
