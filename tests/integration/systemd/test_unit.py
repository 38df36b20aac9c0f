"""systemd/hamgrd.service under a booted systemd: it works inside of what shuts it in, ends in order, and comes back."""

from __future__ import annotations

import shutil
import uuid

import pytest
from fixtures.systemd_container import CHECKOUT
from fixtures.waiting import wait_until

from hamgr.kube.objects import POD
from hamgr.store import members_of

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(200)]
_DROP_IN = (CHECKOUT / "systemd/hamgrd.service.d/self-fencing.conf").read_text()


def inside(host, script):
    """What a shell sees in the unit's own view of the file system."""
    return host.container.run("nsenter", f"--target={host.show('MainPID')}", "--mount", "--", "sh", "-c", script)


def test_it_starts_leads_and_tells_so_in_lines_for_people(host):
    host.start()
    wait_until(lambda: host.leader() == "n1")
    wait_until(lambda: host.show("StatusText").startswith("cluster t, node n1: leading with token "))
    assert host.show("NRestarts") == "0"
    lines = host.container.journal("hamgrd")
    assert "leader: n1 leads node=n1" in lines
    assert any(line.startswith("started version=") for line in lines)
    assert not any(line.startswith(("{", "<")) for line in lines)
    assert "Current DC: n1 (version" in host.hamgr("status").stdout


def test_it_has_no_capability_and_writes_to_its_own_folders_alone(host):
    host.start()
    status = host.container.run("cat", f"/proc/{host.show('MainPID')}/status").stdout
    told = dict(line.split(":\t", 1) for line in status.splitlines())
    assert {told["CapBnd"], told["CapEff"], told["CapPrm"]} == {"0" * 16}
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
    for path in ("/etc", "/etc/hamgr", "/usr", "/var/lib", "/opt", "/run", "/dev", "/sys/fs/cgroup"):
        assert "Read-only file system" in inside(host, f"echo x > {path}/x").stderr, path
    assert inside(host, "echo x > /var/lib/hamgr/x; rm /var/lib/hamgr/x").returncode == 0
    assert inside(host, "ls -A /root /home").stdout.split() == ["/home:", "/root:"]


def test_a_disk_that_is_mounted_or_let_go_after_its_start_is_seen(host):
    """From this hamgrd proves that a disk was let go: a stale view would be a wrong proof."""
    folder = "/var/lib/kubelet/pods/x/mount"
    host.container.run("mkdir", "-p", folder)
    host.start()
    seen = f"/proc/{host.show('MainPID')}/mountinfo"
    host.container.run("mount", "-t", "tmpfs", "none", folder)
    assert folder in host.container.run("cat", seen).stdout
    host.container.run("umount", folder)
    assert folder not in host.container.run("cat", seen).stdout


def test_a_reload_takes_what_can_be_used_and_refuses_the_rest(host):
    host.start()
    first = host.show("MainPID")
    host.configure(log={"level": "debug"}, workers=3)
    assert host.systemctl("reload", "hamgrd").returncode == 0
    wait_until(lambda: 'reloaded log_level=debug needs_restart=["workers"]' in host.journal())

    (host.etc / "hamgrd.yaml").write_text("cluster: t\netcd: {endpoints: []}\n")
    assert host.systemctl("reload", "hamgrd").returncode != 0
    assert "hamgrd: /etc/hamgr/hamgrd.yaml:2" in host.journal()
    assert (host.show("ActiveState"), host.show("MainPID")) == ("active", first)


def test_settings_that_cannot_be_used_are_told_as_an_error_with_their_code(host):
    (host.etc / "hamgrd.yaml").write_text("cluster: t\netcd: {endpoints: []}\n")
    assert host.systemctl("start", "hamgrd").returncode != 0
    assert host.show("ExecMainStatus") == "78"
    errors = host.container.run("journalctl", "--unit=hamgrd", "--priority=3", "--output=cat", "--no-pager").stdout
    assert "hamgrd: /etc/hamgr/hamgrd.yaml:2" in errors
    host.configure()
    wait_until(lambda: host.show("ActiveState") == "active")  # it is tried again and again


def test_a_loop_that_stands_still_and_a_daemon_that_is_killed_are_started_again(host):
    host.drop_in("sooner", "[Service]\nWatchdogSec=2\nRestartSec=200ms\n")
    host.start()
    for number, trouble in (("STOP", "Failed with result 'watchdog'"), ("KILL", "Failed with result 'signal'")):
        before = host.show("MainPID")
        host.container.run("kill", f"-{number}", before)
        wait_until(lambda seen=before: host.show("MainPID") not in ("0", seen))
        wait_until(lambda: host.show("ActiveState") == "active")
        assert trouble in host.journal()
    wait_until(lambda: host.leader() == "n1")


def test_a_stop_hands_leadership_over_and_is_no_failure(host):
    host.start()
    wait_until(lambda: host.leader() == "n1")
    other = host.other()
    assert host.systemctl("stop", "hamgrd").returncode == 0
    assert "goodbyes/n1" in host.store.read("goodbyes/").entries
    wait_until(lambda: host.leader() == "n2")
    assert (host.show("Result"), host.show("ActiveState")) == ("success", "inactive")
    lines = host.container.journal("hamgrd")
    last_words = lines[: lines.index("hamgrd.service: Deactivated successfully.")][-1]
    assert last_words == "stopped"  # after it systemd speaks, of the CPU time as well if there was enough of it
    assert other.poll() is None


DEVICE = """
cluster: t
nodes: [n1, n2]
fencing:
  devices: [{id: rack, agent: fence_dummy, nodes: [n2], params-from: file:/etc/hamgr/rack}]
  levels: [node]
resources: [{id: d, agent: dummy}]
"""


@pytest.mark.skipif(not shutil.which("fence_dummy", path="/usr/sbin"), reason="Debian's fence-agents is not installed")
def test_agents_run_inside_of_what_shuts_it_in(host):
    host.container.write("/etc/cluster.yaml", DEVICE)
    host.container.write("/etc/hamgr/rack", "status_file=/var/lib/hamgr/power\n")
    host.start()
    wait_until(lambda: host.leader() == "n1")
    assert host.hamgr("apply", "-f", "/etc/cluster.yaml").returncode == 0
    wait_until(lambda: "(hamgr:dummy):\t Started n1" in host.hamgr("status").stdout)
    inside(host, "echo -n on > /var/lib/hamgr/power")
    tested = host.hamgr("fence", "test", "rack")
    assert tested.stdout == "device rack: works\n  n2: on\n", tested.stderr
    fenced = host.hamgr("fence", "n2", "--yes")
    assert "proof: device rack: switched off, and it reads back off" in fenced.stdout, fenced.stderr


INSTANCE = """
[Service]
User=nobody
Slice=kubepods-burstable-pod{uid}.slice
ExecStart=/bin/sleep 1000
"""


@pytest.fixture
def guarded(host):
    """Starts a hamgrd that fences itself, on a node with an instance that belongs to another user."""

    def start(member_ttl):
        host.configure(**{"self-fencing": "kill", "times": {"join-wait": "1s", "member-ttl": member_ttl}})
        host.drop_in("self-fencing", _DROP_IN)
        uid = pod_of(host).replace("-", "_")
        host.container.write("/etc/systemd/system/instance.service", INSTANCE.format(uid=uid))
        host.systemctl("daemon-reload")
        host.systemctl("start", "instance")
        host.start()
        wait_until(lambda: members_of(host.store.read("members/"))["n1"].self_fence)
        return guard_of(host)

    return start


def test_the_guard_outlives_a_hamgrd_that_dies_and_ends_with_one_that_stops(host, guarded):
    guard, first = guarded("60s"), host.show("MainPID")
    assert guard
    host.container.run("kill", "-KILL", first)
    wait_until(lambda: host.show("MainPID") not in ("0", first) and host.show("ActiveState") == "active")
    assert guard_of(host) == guard
    assert host.systemctl("stop", "hamgrd").returncode == 0
    assert guard_of(host) == ""
    assert host.container.show("instance", "ActiveState") == "active"


def test_the_guard_ends_another_users_instance_when_etcd_is_gone(host, guarded):
    guarded("5s")
    host.etcd.freeze()
    try:
        wait_until(lambda: host.container.show("instance", "ActiveState") == "failed")
    finally:
        host.etcd.thaw()
    assert "guard: not a member any more: the instances of node n1 are killed" in host.journal()
    wait_until(lambda: "n1" in members_of(host.store.read("members/")))


def pod_of(host):
    """A pod of hamgr's on n1, in the API; its UID."""
    labels = {"hamgr.io/cluster": "t", "hamgr.io/resource": "db"}
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": f"db-{uuid.uuid4().hex[:8]}", "labels": labels}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return str(host.kube.post(POD.collection("default"), body)["metadata"]["uid"])


def guard_of(host):
    return host.container.run("pgrep", "-f", "hamgr.daemon.selffence.killer").stdout.strip()
