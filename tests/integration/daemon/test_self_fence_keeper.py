"""hamgrd's side of self-fencing on a real etcd: what is promised, when it is taken back, who is pardoned."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid

import pytest
from fixtures.waiting import wait_until

from hamgr.clock import boottime
from hamgr.daemon.member import Member
from hamgr.daemon.selffence.bound import Bound
from hamgr.daemon.selffence.client import GuardLine, SelfFence, Sights, stand_down
from hamgr.daemon.selffence.find import processes_of
from hamgr.daemon.selffence.killer import GuardOptions
from hamgr.store import members_of
from hamgr.store.membership import MemberInfo

pytestmark = pytest.mark.etcd

TTL_S = 2
BOUND = Bound(1.0, 1.5, proves=True)
WAYS = ("environment",)


class World:
    """A member with self-fencing; what it sees of Kubernetes is set by the test."""

    def __init__(self, store, directory, bound=BOUND):
        self.store = store
        self.there, self.is_fresh, self.may_live, self.others = set(), True, set(), set()
        self.options = GuardOptions("n1", str(directory), WAYS, boot_id="boot-1")
        self.member = Member(store, MemberInfo("n1", "boot-1", ttl_s=TTL_S))
        self.member.join()
        sights = Sights(
            lambda: self.there - self.others,
            lambda: self.is_fresh,
            lambda condemned: condemned & self.may_live,
            others=lambda: set(self.others),
        )
        self.fence = SelfFence(bound, self.options, TTL_S, self.member, store, sights)
        self.fence.start()

    def promise(self):
        entry = self.store.get("promises/n1")
        return None if entry is None else entry.value

    def shown(self):
        return members_of(self.store.read("members/"))["n1"].self_fence

    def guarded(self):
        """The pods that its guard would kill."""
        return json.loads(self.options.state.read_text())["pods"]

    def guard(self):
        """The guard's process number; None when there is none."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            try:
                line.connect(str(self.options.socket))
            except OSError:
                return None
            return struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


@pytest.fixture
def world(store, tmp_path):
    made = []

    def make(bound=BOUND):
        made.append(World(store, tmp_path, bound))
        return made[-1]

    yield make
    for one in made:
        one.fence.stop()
        pid = one.guard()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        one.member.leave()


@pytest.fixture
def container():
    started = []

    def start(uid):
        script = "import time; time.sleep(600)"
        started.append(subprocess.Popen([sys.executable, "-S", "-c", script], env={"HAMGR_POD_UID": uid}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_promise_is_made_and_taken_back_in_good_order(world):
    one = world()
    assert one.promise() == {"self_fence": 1.5, "ttl_s": TTL_S, "boot_id": "boot-1"}
    assert one.shown() == 1.5
    assert one.guard() is not None
    one.fence.stop()
    assert one.promise() is None
    assert one.guard() is None


def test_killing_alone_is_shown_but_proves_nothing_to_others(world):
    one = world(Bound(1.0, 1.5, proves=False))
    assert (one.promise(), one.shown()) == (None, 1.5)


def test_a_node_that_cannot_see_its_pods_takes_its_promise_back(world):
    one = world()
    one.is_fresh = False
    wait_until(lambda: one.promise() is None and one.shown() is None)
    one.is_fresh = True
    wait_until(lambda: one.promise() is not None and one.shown() == 1.5)


def test_without_etcd_instances_are_killed_and_a_pardon_needs_more_than_a_new_lease(world, etcd_server, container):
    one = world()
    kept, deleted, tenants = str(uuid.uuid4()), str(uuid.uuid4()), str(uuid.uuid4())
    processes, tenant = [container(kept), container(deleted)], container(tenants)
    one.there = {kept, deleted, tenants}
    wait_until(lambda: len(processes_of(one.there, WAYS)) == 3)
    wait_until(lambda: tenants in one.guarded())
    one.others = {tenants}
    wait_until(lambda: tenants not in one.guarded())
    time_of_death = []
    etcd_server.freeze()
    try:
        cut = time.monotonic()
        for process in processes:
            assert process.wait(timeout=20) == -signal.SIGKILL
            time_of_death.append(time.monotonic() - cut)
    finally:
        etcd_server.thaw()
    assert tenant.poll() is None, "it only carries our label"
    wait_until(lambda: one.member.renewed_until() > boottime() + 1)
    assert container(kept).wait(timeout=20) == -signal.SIGKILL, "a member again, but not pardoned yet"
    one.there, one.may_live = {kept}, {kept}
    wait_until(lambda: _lives(container, kept))
    assert container(deleted).wait(timeout=20) == -signal.SIGKILL
    assert one.promise() is not None


def _lives(container, uid):
    process = container(uid)
    try:
        return process.wait(timeout=1.0) is None
    except subprocess.TimeoutExpired:
        return True


def test_a_guard_that_dies_is_replaced(world):
    one = world()
    first = one.guard()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: one.guard() not in (None, first))
    wait_until(lambda: one.promise() is not None)


def test_a_node_that_has_just_lost_its_lease_still_stops_in_good_order(world, store):
    one = world()
    store.revoke(store.get("members/n1").lease)
    one.fence.stop()
    assert one.promise() is None
    assert one.guard() is None


def test_where_the_promise_cannot_be_taken_back_the_guard_stays_and_keeps_it(world, etcd_server, container):
    one = world()
    uid = str(uuid.uuid4())
    process = container(uid)
    one.there = {uid}
    wait_until(lambda: uid in GuardLine(one.options).open()["pods"])
    etcd_server.freeze()
    try:
        one.fence.stop()
        assert process.wait(timeout=20) == -signal.SIGKILL
        assert one.guard() is not None
    finally:
        etcd_server.thaw()


def test_self_fencing_switched_off_ends_what_a_crashed_hamgrd_left(world, store):
    one = world()
    one.fence._stop.set()  # as if it had crashed: nothing is taken back
    stand_down(store, one.options)
    assert one.promise() is None
    assert one.guard() is None
