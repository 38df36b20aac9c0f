"""Questions about mounts, through a real etcd, answered from the kernel's own mount table."""

import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from fixtures.waiting import wait_until

from hamgr.daemon import mounts
from hamgr.daemon.mounts import ANSWERS, ASKS, MountQuestions, MountReporter
from hamgr.kube.volumes import Volume

pytestmark = pytest.mark.etcd

DISK = Volume("pv-1", "disk.csi.example.com", "handle-1")
OTHER = Volume("pv-2", "disk.csi.example.com", "handle-2")


def table(*points):
    """A mount table as /proc shows it."""
    return "".join(f"{n} 1 0:{n} / {point} rw - tmpfs none rw\n" for n, point in enumerate(points))


def staged(kubelet, volume):
    return f"{kubelet}/plugins/kubernetes.io/csi/{volume.driver}/{volume.global_mount_id}/globalmount"


@pytest.fixture
def mountinfo(tmp_path):
    path = tmp_path / "mountinfo"
    path.write_text(table("/"))
    return path


@pytest.fixture
def reporter(store, mountinfo):
    running = MountReporter(store, "n1", "boot-1", mountinfo)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def questions(store):
    return MountQuestions(store)


def test_what_is_mounted_is_said_so_until_it_is_not(reporter, questions, mountinfo):
    mountinfo.write_text(table("/", staged("/var/lib/kubelet", DISK)))
    assert questions.unmounted("n1", DISK) is False
    assert questions.unmounted("n1", OTHER) is True
    mountinfo.write_text(table("/"))
    wait_until(lambda: questions.unmounted("n1", DISK) is True)


def test_each_new_question_is_looked_at_anew(reporter, questions, mountinfo):
    assert questions.unmounted("n1", DISK) is True
    mountinfo.write_text(table(staged("/var/lib/kubelet", DISK)))
    assert questions.unmounted("n1", DISK) is False


def test_nobody_there_is_no_answer(questions):
    assert questions.unmounted("n9", DISK) is None


def test_an_old_answer_answers_no_new_question(store, questions, monkeypatch):
    """A daemon that answered and then hangs must not be believed about what came later."""
    monkeypatch.setattr(mounts, "FIRST_ANSWER_S", 0.0)
    assert questions.unmounted("n1", DISK) is None
    (first,) = store.read(ASKS).entries
    identity = first.rpartition("/")[2]
    store.transact(puts={ANSWERS + identity: {"mounted": False}})
    assert questions.unmounted("n1", DISK) is True
    assert questions.unmounted("n1", DISK) is None


def test_questions_asked_before_the_daemon_came_are_answered(store, questions, mountinfo, monkeypatch):
    monkeypatch.setattr(mounts, "FIRST_ANSWER_S", 0.0)
    assert questions.unmounted("n1", DISK) is None
    late = MountReporter(store, "n1", "boot-1", mountinfo)
    late.start()
    try:
        wait_until(lambda: questions.unmounted("n1", DISK) is True)
    finally:
        late.stop()


def test_nothing_is_left_behind(store, reporter, questions):
    assert questions.unmounted("n1", DISK) is True
    wait_until(lambda: not store.read(ASKS).entries and not store.read(ANSWERS).entries)


def test_etcd_away_is_no_answer_and_ends_nothing(etcd_server, reporter, questions):
    etcd_server.kill()
    assert questions.unmounted("n1", DISK) is None
    etcd_server.start()
    wait_until(lambda: questions.unmounted("n1", DISK) is True)


def test_a_pod_is_gone_when_nothing_of_it_is_mounted_any_more(reporter, questions, mountinfo):
    uid = str(uuid.uuid4())
    mountinfo.write_text(table("/", f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~nfs/data"))
    assert questions.departed("n1", uid) is False
    assert questions.departed("n1", str(uuid.uuid4())) is True
    assert questions.departed("n9", uid) is None
    mountinfo.write_text(table("/"))
    wait_until(lambda: questions.departed("n1", uid) is True)


def test_a_pod_is_gone_when_no_process_of_it_is_left(reporter, questions):
    """A hostPath is mounted nowhere but in the container itself."""
    uid = str(uuid.uuid4())
    container = subprocess.Popen(["sleep", "600"], env={"HAMGR_POD_UID": uid, "PATH": os.environ["PATH"]})
    try:
        assert questions.departed("n1", uid) is False
    finally:
        container.kill()
        container.wait()
    wait_until(lambda: questions.departed("n1", uid) is True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_the_kernels_own_table(store, questions, tmp_path):
    """A real mount below a real kubelet's path, seen in /proc/self/mountinfo, and its unmount."""
    point = Path(staged(tmp_path / "kubelet dir", DISK))  # a space, which the kernel escapes
    point.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    running = MountReporter(store, "n1", "boot-1", Path("/proc/self/mountinfo"))
    running.start()
    try:
        assert questions.unmounted("n1", DISK) is False
        subprocess.run(["umount", point], check=True)
        wait_until(lambda: questions.unmounted("n1", DISK) is True)
    finally:
        subprocess.run(["umount", "-q", point], check=False)
        running.stop()


def test_an_unreadable_table_is_no_answer(store, questions, tmp_path):
    running = MountReporter(store, "n1", "boot-1", tmp_path / "gone")
    running.start()
    try:
        assert questions.unmounted("n1", DISK) is None
    finally:
        before = time.monotonic()
        running.stop()
        assert time.monotonic() - before < 5
