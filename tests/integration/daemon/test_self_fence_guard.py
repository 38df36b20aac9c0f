"""The guard as a process: what it kills, when, and that neither its hamgrd's death nor a freeze keeps it from that."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import uuid

import pytest
from fixtures.guards import running_guard
from fixtures.waiting import wait_until

from hamgr.clock import boottime
from hamgr.daemon.selffence.client import FORGET_S, GuardLine, GuardLost, PodList
from hamgr.daemon.selffence.find import PROC, by_cgroup, by_mounts, processes_of
from hamgr.daemon.selffence.killer import GuardOptions
from hamgr.daemon.settings import SettingsError

WAYS = ("environment",)


@pytest.fixture
def container():
    """Starts processes that look like a pod's containers: they have its UID in their environment."""
    started = []

    def start(uid, script="import time; time.sleep(600)"):
        environment = {"HAMGR_POD_UID": uid, "PATH": os.environ["PATH"]}
        process = subprocess.Popen([sys.executable, "-S", "-c", script], env=environment)
        started.append(process)
        wait_until(lambda: process.pid in processes_of({uid}, WAYS))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def line(tmp_path):
    """A connection to a guard of this test's own."""
    options = GuardOptions("n1", str(tmp_path), WAYS, boot_id="boot-1")
    with running_guard(options) as made:
        yield made


def guard_pid(line):
    return struct.unpack("3i", line._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def test_instances_live_as_long_as_they_may_and_not_longer(line, container):
    uid, other = str(uuid.uuid4()), str(uuid.uuid4())
    instance, stranger = container(uid), container(other)
    until = boottime() + 0.6
    line.say({"until": until, "pods": [uid]})
    assert instance.poll() is None
    assert instance.wait(timeout=10) == -signal.SIGKILL
    assert boottime() >= until
    assert stranger.poll() is None
    assert line.say({})["condemned"] == [uid]


def test_what_a_kubelet_starts_again_is_killed_again_until_pardoned(line, container):
    uid = str(uuid.uuid4())
    line.say({"until": boottime(), "pods": [uid]})
    for _ in range(3):
        environment = {"HAMGR_POD_UID": uid}
        again = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], env=environment)
        assert again.wait(timeout=10) == -signal.SIGKILL
    line.say({"until": boottime() + 600, "pods": [uid]})
    again = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], env={"HAMGR_POD_UID": uid})
    assert again.wait(timeout=10) == -signal.SIGKILL, "a renewed lease alone pardons nobody"
    line.say({"pardon": [uid]})
    assert container(uid).poll() is None
    assert line.say({})["condemned"] == []


def test_the_death_of_hamgrd_is_no_way_out(line, container):
    uid = str(uuid.uuid4())
    instance = container(uid)
    line.say({"until": boottime() + 0.5, "pods": [uid]})
    line.close()
    assert instance.wait(timeout=10) == -signal.SIGKILL
    assert line.open()["condemned"] == [uid]  # the next hamgrd finds the guard, and what it has done


def test_a_guard_thawed_too_late_kills_first_whatever_was_said_meanwhile(line, container):
    uid = str(uuid.uuid4())
    instance = container(uid)
    line.say({"until": boottime() + 1.0, "pods": [uid]})
    os.kill(guard_pid(line), signal.SIGSTOP)
    until = boottime() + 1.0
    line._socket.sendall(json.dumps({"until": until}).encode() + b"\n")  # said in time, heard too late
    wait_until(lambda: boottime() > until)
    assert instance.poll() is None
    os.kill(guard_pid(line), signal.SIGCONT)
    assert instance.wait(timeout=10) == -signal.SIGKILL


def test_a_starved_machine_is_no_way_out(line, container):
    """More busy processes than processors; the guard asks for priority where it may and needs little in any case."""
    uid = str(uuid.uuid4())
    instance = container(uid)
    spin = "while True: pass"
    busy = [subprocess.Popen([sys.executable, "-S", "-c", spin]) for _ in range(2 * (os.cpu_count() or 1) + 2)]
    try:
        line.say({"until": boottime() + 0.5, "pods": [uid]})
        assert instance.wait(timeout=20) == -signal.SIGKILL
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_jumps_of_the_wall_clock_do_not_matter(tmp_path, container):
    """The guard with a wall clock that jumps by a year, back or forth, each time it is read."""
    options = GuardOptions("n1", str(tmp_path), WAYS, boot_id="boot-1")
    jumping = (
        "import itertools, sys, time; from hamgr.daemon.selffence.killer import main\n"
        "jumps = itertools.cycle((3e7, -3e7)); real = time.time; time.time = lambda: real() + next(jumps)\n"
        "sys.exit(main())"
    )
    with subprocess.Popen([sys.executable, "-c", jumping, options.to_text()], stdout=subprocess.PIPE) as guard:
        assert guard.stdout.readline() == b"READY\n"
        line, uid = GuardLine(options), str(uuid.uuid4())
        line.open()
        assert guard_pid(line) == guard.pid
        instance, until = container(uid), boottime() + 1.0
        line.say({"until": until, "pods": [uid]})
        assert instance.wait(timeout=10) == -signal.SIGKILL
        assert boottime() >= until
        line.dismiss()


def test_a_guard_that_hangs_or_is_killed_is_replaced_and_the_list_survives(line, container):
    uid = str(uuid.uuid4())
    line.say({"until": boottime(), "pods": [uid]})
    wait_until(lambda: line.say({})["condemned"] == [uid])
    first = guard_pid(line)
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(GuardLost):
        line.say({})
    line.close(kill=True)
    known = line.open()
    assert guard_pid(line) != first
    assert known["condemned"] == [uid]


def test_other_settings_replace_the_guard(line, tmp_path):
    first = guard_pid(line)
    other = GuardLine(GuardOptions("n1", str(tmp_path), ("cgroup",), boot_id="boot-1"))
    other.open()
    assert guard_pid(other) != first
    wait_until(lambda: not os.path.exists(f"/proc/{first}/exe"))
    other.dismiss()
    assert not (tmp_path / "guard-n1.sock").exists()


def test_the_list_of_an_earlier_boot_is_void(tmp_path):
    options = GuardOptions("n1", str(tmp_path), WAYS, boot_id="boot-1")
    options.state.write_text(json.dumps({"boot_id": "boot-0", "pods": ["a"], "condemned": ["a"]}))
    line = GuardLine(options)
    assert line.open()["condemned"] == []
    line.dismiss()


def test_a_watchdog_that_is_not_there_is_said_at_the_start(tmp_path):
    options = GuardOptions("n1", str(tmp_path), WAYS, str(tmp_path / "watchdog"), 2, "boot-1")
    with pytest.raises(SettingsError, match=r"the watchdog .*/watchdog cannot be opened: No such file"):
        GuardLine(options).open()


# --- finding processes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["pod{}", "kubepods-burstable-pod{}.slice"])
def test_by_cgroup(tmp_path, style):
    uid = str(uuid.uuid4())
    named = style.format(uid if style == "pod{}" else uid.replace("-", "_"))
    for pid, path in (("41", f"/kubepods/{named}/cri-1"), ("42", "/system.slice/kubelet.service")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(f"0::{path}\n")
    assert by_cgroup({uid}, tmp_path) == {41}


def test_by_mounts_means_containers_and_spares_kubelet_and_driver(tmp_path):
    uid, other = str(uuid.uuid4()), str(uuid.uuid4())
    ours = f"30 1 259:1 / /var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/pv1/mount rw - ext4 /dev/a rw\n"
    theirs = f"31 1 259:2 / /var/lib/kubelet/pods/{other}/volumes/kubernetes.io~csi/pv2/mount rw - ext4 /dev/b rw\n"
    root = "20 1 8:1 / / rw - ext4 /dev/root rw\n"
    tables = {
        "self": root + ours + theirs,
        "1": root + ours + theirs,
        "50": "90 1 0:50 / / rw - overlay o rw\n91 90 259:1 / /data rw - ext4 /dev/a rw\n",
        "51": "90 1 0:51 / / rw - overlay o rw\n91 90 259:2 / /data rw - ext4 /dev/b rw\n",
        "52": "90 1 0:52 / / rw - overlay o rw\n" + ours,  # the driver's container sees the kubelet's directory
    }
    for pid, table in tables.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "mountinfo").write_text(table)
    assert by_mounts({uid}, tmp_path) == {50}


def test_zombies_do_not_count(container):
    uid = str(uuid.uuid4())
    process = container(uid)
    os.kill(process.pid, signal.SIGKILL)  # not waited for: a zombie
    wait_until(lambda: (PROC / str(process.pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z")
    assert processes_of({uid}, WAYS) == set()


# --- the list of pods --------------------------------------------------------------------------------------------


def test_a_pod_that_is_gone_from_the_api_stays_listed_while_it_has_processes(container):
    uid, now = str(uuid.uuid4()), [0.0]
    pods = PodList(WAYS, lambda: now[0])
    process = container(uid)
    assert pods.update({uid}) == [uid]
    assert pods.update(set()) == [uid]
    now[0] += FORGET_S + 1
    assert pods.update(set()) == [uid]
    process.kill()
    process.wait()
    now[0] += FORGET_S + 1
    assert pods.update(set()) == []


def test_the_list_begins_with_what_an_earlier_hamgrd_knew():
    pods = PodList(WAYS, lambda: 0.0)
    pods.remember({"a"})
    assert pods.update({"b"}) == ["a", "b"]
