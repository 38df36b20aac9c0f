"""`hamgr fence history|devices|topology|test` and dry runs, asked of a real leader in a sandbox of one node."""

import json
import os
import stat
import sys

import pytest
from fixtures.running_sandbox import running_sandbox
from fixtures.waiting import wait_until
from hamgr_sandbox.layout import Options

from hamgr.cli.main import main
from hamgr.kube.connection import KubeConfig
from hamgr.kube.gateway import Kube
from hamgr.store import Store, StoreConfig

pytestmark = [
    pytest.mark.root,
    pytest.mark.etcd,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

AGENT = """#!{python}
import pathlib, sys
given = dict(line.rstrip("\\n").split("=", 1) for line in sys.stdin if "=" in line)
action = given.get("action")
if action == "metadata":
    print('''<?xml version="1.0" ?><resource-agent name="fence_rack" shortdesc="A rack's power strip"><parameters>
<parameter name="action" required="1"><content type="string" default="off"/></parameter>
<parameter name="ip" required="1"><content type="string"/></parameter>
<parameter name="passwd"><content type="string"/></parameter>
<parameter name="port" required="1"><content type="string"/></parameter></parameters>
<actions><action name="on"/><action name="off"/><action name="status"/><action name="monitor"/></actions>
</resource-agent>''')
elif given.get("passwd") != "open sesame" or pathlib.Path(__file__).with_name("broken").exists():
    print("login to " + given.get("ip", "?") + " failed with " + given.get("passwd", "no password"), file=sys.stderr)
    sys.exit(1)
"""

CLUSTER = """
cluster: sandbox
namespace: shop
nodes: [n1]
fencing:
  devices:
    - {{id: rack, agent: {agent}, params: {{ip: 10.0.0.9, pcmk_host_map: 'n1:7'}}, params-from: secret/rack}}
  levels: [volume, {{level: rack, retries: 2}}, watchdog, manual]
resources:
  - {{id: app, agent: pod, params: {{image: hamgr/kvapp, port: 6380, park: false}}}}
"""


@pytest.fixture(scope="module")
def sandbox():
    with running_sandbox(Options(nodes=1)) as made:
        yield made


@pytest.fixture(scope="module")
def rack(sandbox):
    """A fence agent, its password in the namespace `shop` and nowhere else, and a cluster file with it in force."""
    agent = sandbox.layout.root / "fence_rack"
    agent.write_text(AGENT.format(python=sys.executable))
    agent.chmod(agent.stat().st_mode | stat.S_IXUSR)
    kube = Kube(KubeConfig(kubeconfig=sandbox.kubeconfig))
    kube.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    secret = {"metadata": {"name": "rack"}, "stringData": {"passwd": "open sesame"}}
    kube.post("/api/v1/namespaces/shop/secrets", secret)
    kube.close()
    file = sandbox.layout.root.parent / "cluster.yaml"
    file.write_text(CLUSTER.format(agent=agent))
    return agent, file


@pytest.fixture
def hamgr(sandbox, rack, monkeypatch, capsys):
    """Runs a command; gives its exit code, output and complaints."""
    monkeypatch.setenv("HAMGR_CONFIG", str(sandbox.layout.user_settings))

    def run(*words):
        code = main(list(words))
        said = capsys.readouterr()
        print(f"$ hamgr {' '.join(words)}\n{said.out}{said.err}", file=sys.__stdout__)
        return code, said.out, said.err

    code, _, err = run("apply", "-f", str(rack[1]))
    assert code == 0, err
    wait_until(lambda: "rack" in main_output(run, "fence", "devices"))
    return run


def main_output(run, *words):
    return run(*words)[1]


@pytest.fixture
def store(sandbox):
    opened = Store(StoreConfig(tuple(sandbox.etcd_endpoints), cluster="sandbox"))
    yield opened
    opened.close()


def test_devices_are_shown_without_their_values(hamgr, rack):
    code, out, _ = hamgr("fence", "devices")
    assert code == 0
    assert f"rack ({rack[0]}), time-out 30 s, used for n1" in out
    assert "parameters: ip" in out
    assert "secret/rack" in out
    assert "n1 is called 7 there" in out
    assert "10.0.0.9" not in out


def test_topology_says_what_would_be_refused(hamgr):
    code, out, _ = hamgr("fence", "topology")
    assert code == 0
    assert out.splitlines() == [
        "n1:",
        "  1. volume, time-out 60 s",
        "  2. node, devices rack (off), time-out 60 s, 3 attempts",
        "  3. watchdog, REFUSED: it does not fence itself, time-out 60 s",
        "  4. manual, time-out 60 s",
    ]
    nodes = json.loads(hamgr("fence", "topology", "--output", "json")[1])["nodes"]
    assert [level["level"] for level in nodes[0]["levels"]] == ["volume", "node", "watchdog", "manual"]


def test_a_device_is_tested_with_its_secret_from_the_clusters_namespace(hamgr, rack):
    code, out, _ = hamgr("fence", "test", "rack")
    assert (code, out) == (0, "device rack: works\n  n1: on\n")
    broken = rack[0].with_name("broken")
    broken.touch()
    try:
        code, out, err = hamgr("fence", "test", "rack")
    finally:
        broken.unlink()
    assert code == 1
    assert "device rack: does not work" in out
    assert "login to 10.0.0.9 failed with ***" in err
    assert "open sesame" not in out + err
    code, _, err = hamgr("fence", "test", "rock")
    assert code == 105
    assert "there is no fence device 'rock': devices are rack" in err


def test_a_device_that_does_not_work_is_a_warning(hamgr, rack, store):
    broken = rack[0].with_name("broken")
    broken.touch()
    try:
        # Another time-out is another configuration: its devices are asked at once.
        rack[1].write_text(rack[1].read_text().replace("retries: 2", "retries: 3"))
        hamgr("apply", "-f", str(rack[1]))
        wait_until(lambda: "login to 10.0.0.9 failed with ***" in hamgr("status")[1])
    finally:
        broken.unlink()
        rack[1].write_text(rack[1].read_text().replace("retries: 3", "retries: 2"))
    out = hamgr("status")[1]
    assert "level watchdog is configured for n1, whose hamgrd does not promise to fence the node" in out


def test_a_dry_run_and_the_history(hamgr, sandbox):
    wait_until(lambda: "(hamgr:pod):\t Started n1" in hamgr("status")[1])
    code, out, _ = hamgr("fence", "--dry-run", "app-n1")
    assert code == 0
    assert "level volume on n1:" in out
    assert "(UID " in out
    assert "nothing was done" in out
    assert hamgr("fence", "history")[1] == "nothing was fenced\n"
    code, out, err = hamgr("fence", "app-n1", "--yes", "--level", "volume")
    assert code == 0, err
    out = hamgr("fence", "history", "app-n1")[1]
    assert "release of shop/app-n1: succeeded by level volume" in out
    assert "proof:" in out
    code, _, err = hamgr("fence", "history", "n9")
    assert (code, err) == (68, "hamgr: there is no node 'n9' in the cluster: nodes are n1\n")
    assert len(json.loads(hamgr("fence", "history", "--output", "json")[1])) == 1


def test_wrong_devices_are_found_before_they_are_applied(sandbox, rack, tmp_path, capsys, monkeypatch):
    """The first by the agent's metadata, the second by hamgr's own."""
    monkeypatch.setenv("HAMGR_CONFIG", str(sandbox.layout.user_settings))
    text = rack[1].read_text()
    (tmp_path / "a.yaml").write_text(text.replace("ip: 10.0.0.9", "adress: 10.0.0.9"))
    assert main(["verify", str(tmp_path / "a.yaml")]) == 0  # nothing is run unasked
    assert main(["verify", "--ask-agents", str(tmp_path / "a.yaml")]) == 78
    assert "has no parameter 'adress'" in capsys.readouterr().err
    (tmp_path / "b.yaml").write_text(text.replace("n1:7", "n1=7"))
    for command in (["verify"], ["apply", "-f"]):
        assert main([*command, str(tmp_path / "b.yaml")]) == 78
        assert "fence device rack: pcmk_host_map has 'n1=7'" in capsys.readouterr().err
    (tmp_path / "c.yaml").write_text(text.replace("agent: /", "agent: /nowhere/"))
    assert main(["verify", "--ask-agents", str(tmp_path / "c.yaml")]) == 0
    assert "fence device rack was not checked: agent /nowhere/" in capsys.readouterr().err
