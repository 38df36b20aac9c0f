"""Golden cases for bundles: a cluster with three of them, what goes wrong with it, and Pacemaker's answers.

The histories of the running cluster (`bundle_history.json`) were made by crm_simulate 2.1.5, digests included: with
other launch options than Pacemaker's, every container would be restarted. Where crm_simulate is installed, it is asked
again, and all of its answer is compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element, SubElement

import pytest
from fixtures.simulated import answer
from scheduler.differential.judges import ask_hamgr, ask_oracle, oracle_installed

from hamgr.cib.xml.document import load_xml
from hamgr.cli.render import simulate
from hamgr.cli.simulate import main
from hamgr.scheduler import schedule
from hamgr.scheduler.transition import SummaryLine
from hamgr.scheduler.unpack import status
from hamgr.scheduler.unpack.container_options import addresses, container_params

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
HISTORY = json.loads(Path(__file__).with_name("bundle_history.json").read_text(encoding="utf-8"))
CONFIGURATION = """
<configuration>
  <crm_config><cluster_property_set id="o">
    <nvpair id="o-f" name="stonith-enabled" value="true"/></cluster_property_set></crm_config>
  <nodes><node id="n1" uname="n1"/><node id="n2" uname="n2"/><node id="n3" uname="n3"/></nodes>
  <resources>
    <bundle id="web">
      <docker image="pcmk:web" replicas="2"/>
      <network ip-range-start="192.0.2.10" host-interface="eth0" host-netmask="24">
        <port-mapping id="web-p" port="80"/></network>
      <storage><storage-mapping id="web-s" source-dir="/srv/web" target-dir="/var/www" options="rw"/>
        <storage-mapping id="web-l" source-dir-root="/srv/logs" target-dir="/var/log"/></storage>
      <primitive id="httpd" class="ocf" provider="pacemaker" type="Dummy">
        <operations><op id="httpd-m" name="monitor" interval="10s"/></operations></primitive>
    </bundle>
    <bundle id="db">
      <podman image="pcmk:db" replicas="3" promoted-max="1" network="host" options="--user=root"
        run-command="/bin/run"/>
      <network control-port="3123"/>
      <primitive id="galera" class="ocf" provider="pacemaker" type="Stateful">
        <meta_attributes id="g-m"><nvpair id="g-n" name="notify" value="true"/>
          <nvpair id="g-t" name="container-attribute-target" value="host"/></meta_attributes>
        <operations><op id="g-m1" name="monitor" interval="10s" role="Promoted"/>
          <op id="g-m2" name="monitor" interval="11s" role="Unpromoted"/></operations></primitive>
    </bundle>
    <bundle id="bare">
      <rkt image="pcmk:bare" replicas="2" replicas-per-host="2"/><network ip-range-start="192.0.2.253"/>
    </bundle>
    <primitive id="client" class="ocf" provider="pacemaker" type="Dummy"/>
    <primitive id="fencer" class="stonith" type="fence_xvm"/>
  </resources>
  <constraints>
    <rsc_order id="c1" first="db" first-action="promote" then="web" then-action="start"/>
    <rsc_colocation id="c2" rsc="client" with-rsc="db" with-rsc-role="Promoted" score="INFINITY"/>
    <rsc_order id="c3" first="web" then="client"/>
  </constraints>
</configuration>
"""
PROMOTION = {"n1": "10", "n2": "5", "n3": "5"}  # kept by host: container-attribute-target

Change = Callable[[Element], None]


# --- clusters -----------------------------------------------------------------------------------------


def cluster(*changes: Change, running: bool = True) -> str:
    """The CIB of the cluster, running well or not started yet, with changes to it."""
    root = Element(
        "cib",
        {
            "crm_feature_set": "3.16.1",
            "validate-with": "pacemaker-3.9",
            "epoch": "1",
            "num_updates": "1",
            "admin_epoch": "0",
            "have-quorum": "1",
            "dc-uuid": "n1",
        },
    )
    root.append(ET.fromstring(CONFIGURATION))
    states = SubElement(root, "status")
    for host, score in PROMOTION.items():
        transient = SubElement(node_state(states, host), "transient_attributes", {"id": host})
        owner = SubElement(transient, "instance_attributes", {"id": f"s-{host}"})
        SubElement(owner, "nvpair", {"id": f"s-{host}-m", "name": "master-galera", "value": score})
    for node, resource, agent, container, ops in HISTORY if running else ():
        for task, interval, rc, digest in ops:
            record(root, node, resource, task, interval, rc, rc, agent=agent, container=container, digest=digest)
    for change in changes:
        change(root)
    return ET.tostring(root, encoding="unicode")


def node_state(states: Element, name: str) -> Element:
    """A node's state, made if need be: a host that is up, or a guest."""
    found = next((state for state in states if state.get("uname") == name), None)
    if found is not None:
        return found
    host = name in PROMOTION
    given = {"crmd": "online", "join": "member", "expected": "member"} if host else {"remote_node": "true"}
    return SubElement(states, "node_state", {"id": name, "uname": name, "in_ccm": "true", **given})


def record(
    root: Element,
    node: str,
    resource: str,
    task: str,
    interval: int,
    rc: int,
    expected: int,
    *,
    agent: str = "",
    container: str = "",
    digest: str = "",
) -> None:
    """Record an operation's result; one that was not expected is the resource's last failure."""
    state = node_state(root.findall("status")[0], node)
    lrm = state.find("lrm/lrm_resources")
    if lrm is None:
        lrm = SubElement(SubElement(state, "lrm", {"id": node}), "lrm_resources")
    history = next((entry for entry in lrm if entry.get("id") == resource), None)
    if history is None:
        standard, *provider, kind = agent.split(":")
        given = {"class": standard, "type": kind, **({"provider": provider[0]} if provider else {})}
        history = SubElement(lrm, "lrm_resource", {"id": resource, **given})
        if container:
            history.set("container", container)
    call = str(1 + sum(1 for _ in state.iter("lrm_rsc_op")))
    key = f"{call}:1:{expected}:{KEY}"
    slot = f"{resource}_last_failure_0" if rc != expected else f"{resource}_{task}_{interval}"
    given = {
        "id": slot,
        "operation_key": f"{resource}_{task}_{interval}",
        "operation": task,
        "crm_feature_set": "3.16.1",
        "transition-key": key,
        "transition-magic": f"0:{rc};{key}",
        "call-id": call,
        "rc-code": str(rc),
        "op-status": "0",
        "interval": str(interval),
        "last-rc-change": "1749999600",
    }
    SubElement(history, "lrm_rsc_op", given | ({"op-digest": digest} if digest else {}))


def fails(node: str, resource: str, task: str, interval: int, rc: int, expected: int = 0) -> Change:
    return lambda root: record(root, node, resource, task, interval, rc, expected)


def lost(node: str) -> Change:
    return lambda root: node_state(root.findall("status")[0], node).attrib.update(in_ccm="false", crmd="offline")


def constraint(text: str) -> Change:
    return lambda root: root.findall("configuration/constraints")[0].append(ET.fromstring(text))


def meta(name: str, option: str, value: str) -> Change:
    def change(root: Element) -> None:
        owner = Element("meta_attributes", {"id": f"{name}-own"})
        SubElement(owner, "nvpair", {"id": f"{name}-own-1", "name": option, "value": value})
        next(e for e in root.iter() if e.get("id") == name and e.tag in ("bundle", "primitive")).insert(0, owner)

    return change


def configured(path: str, name: str, value: str) -> Change:
    return lambda root: root.findall(f"configuration/resources/bundle[@id='web']/{path}")[0].set(name, value)


def forgotten(resource: str) -> Change:
    """Its history has been cleaned up."""

    def change(root: Element) -> None:
        for histories in root.iter("lrm_resources"):
            for entry in [entry for entry in histories if entry.get("id") == resource]:
                histories.remove(entry)

    return change


def standby(root: Element) -> None:
    attributes = SubElement(root.findall("configuration/nodes/node")[0], "instance_attributes", {"id": "st"})
    SubElement(attributes, "nvpair", {"id": "st-1", "name": "standby", "value": "on"})


def without_web(root: Element) -> None:
    resources, constraints = (root.findall(f"configuration/{name}")[0] for name in ("resources", "constraints"))
    resources.remove(resources[0])
    for entry in [entry for entry in constraints if entry.get("id") != "c2"]:
        constraints.remove(entry)


AWAY = constraint('<rsc_location id="away" rsc="web" node="n1" score="-INFINITY"/>')
CLUSTERS = {
    "fresh": cluster(running=False),
    "running": cluster(),
    "container-failed": cluster(fails("n1", "web-docker-0", "monitor", 60_000, 7)),
    "connection-failed": cluster(fails("n1", "web-0", "monitor", 30_000, 1)),
    "child-failed": cluster(fails("web-0", "httpd", "monitor", 10_000, 1)),
    "address-failed": cluster(fails("n1", "web-ip-192.0.2.10", "monitor", 60_000, 7)),
    "promoted-failed": cluster(fails("db-1", "galera", "monitor", 10_000, 9, 8)),
    "child-stop-failed": cluster(fails("web-0", "httpd", "stop", 0, 1)),
    "container-stop-failed": cluster(fails("n1", "web-docker-0", "stop", 0, 1)),
    "host-lost": cluster(lost("n1")),
    "host-standby": cluster(standby),
    "moved": cluster(AWAY),
    "promoted-elsewhere": cluster(
        constraint('<rsc_location id="pref" rsc="db" role="Promoted" node="db-2" score="1000"/>')
    ),
    "stopped": cluster(meta("web", "target-role", "Stopped")),
    "unpromoted": cluster(meta("db", "target-role", "Unpromoted")),
    "unmanaged": cluster(meta("web", "is-managed", "false"), fails("n1", "web-docker-0", "monitor", 60_000, 7)),
    "child-unmanaged": cluster(meta("httpd", "is-managed", "false"), AWAY),
    "fewer-replicas": cluster(configured("docker", "replicas", "1")),
    "more-replicas": cluster(configured("docker", "replicas", "3")),
    "image-changed": cluster(configured("docker", "image", "pcmk:new")),
    "addresses-changed": cluster(configured("network", "ip-range-start", "192.0.2.20")),
    "container-cleaned-up": cluster(forgotten("web-docker-0")),
    "child-cleaned-up": cluster(forgotten("httpd")),
    "bundle-removed": cluster(without_web),
    "interleaved": cluster(
        meta("web", "interleave", "true"),
        constraint('<rsc_colocation id="with" rsc="web" with-rsc="db" score="INFINITY"/>'),
        running=False,
    ),
    "no-quorum": cluster(lambda root: root.set("have-quorum", "0")),
}


# --- answers ------------------------------------------------------------------------------------------


def told(line: SummaryLine) -> str:
    """A line of the summary: "move web-0 n1->n2"."""
    if line.task:
        return f"{line.task} {line.node}"
    where = "->".join(dict.fromkeys(place for place in (line.source or line.node, line.dest) if place))
    role = f" {line.next_role}" if line.next_role and line.next_role != line.role else ""
    return f"{line.action} {line.resource}{role} {where}{' blocked' if line.blocked else ''}"


ANSWERS: dict[str, list[str]] = json.loads(Path(__file__).with_name("bundle_answers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CLUSTERS)
def test_decides_as_pacemaker_does(name: str) -> None:
    assert sorted(told(line) for line in schedule(load_xml(CLUSTERS[name]), NOW).summary) == ANSWERS[name]


@pytest.mark.oracle
@pytest.mark.skipif(not oracle_installed(), reason="crm_simulate is not installed")
@pytest.mark.parametrize("name", CLUSTERS)
def test_pacemaker_itself_decides_so(name: str) -> None:
    assert ask_oracle(CLUSTERS[name]).differences(ask_hamgr(CLUSTERS[name])) == {}


def test_a_running_bundle_is_shown_as_crm_simulate_shows_it() -> None:
    cib = load_xml(CLUSTERS["child-failed"])
    text = "\n".join(simulate.status_lines(status.unpack(cib, int(NOW.timestamp()))))
    assert "    * GuestOnline: [ db-0 db-1 db-2 web-0 web-1 ]" in text
    assert (
        "    * Container bundle set: web [pcmk:web]:\n"
        "      * web-0 (192.0.2.10)\t(ocf:pacemaker:Dummy):\t FAILED n1\n"
        "      * web-1 (192.0.2.11)\t(ocf:pacemaker:Dummy):\t Started n2\n"
    ) in text
    assert "    * Container bundle set: bare [pcmk:bare] (unique):\n      * bare-rkt-0 (192.0.2.253)" in text


def test_why_names_the_nodes_that_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cib.xml"
    file.write_text(CLUSTERS["child-failed"], encoding="utf-8")
    assert main(["--why", "httpd", str(file)]) == 0
    told = capsys.readouterr().out
    assert "httpd:0 (in web-clone, in web) is Started on web-0. It will be recovered there." in told
    assert "n1" not in told
    assert main(["--why", "web-docker-0", str(file)]) == 0
    told = capsys.readouterr().out
    assert "  * n1: score " in told
    assert "db-0" not in told


# --- launch options -----------------------------------------------------------------------------------


def test_the_launch_options_of_each_technology() -> None:
    """To the space what Pacemaker makes of them (its own graph of the fresh cluster)."""
    options = {}
    for bundle in load_xml(CLUSTERS["fresh"]).resources[:3]:
        known = addresses(bundle, 2)  # type: ignore[arg-type]
        options[bundle.id] = container_params(bundle, 0, known)["run_opts"]  # type: ignore[arg-type]
    assert options["web"] == (
        " --restart=no -h web-0 -e PCMK_stderr=1 -e PCMK_remote_port=3121 -v /srv/web:/var/www:rw"
        " -v /srv/logs/web-0:/var/log -v /etc/pacemaker/authkey:/etc/pacemaker/authkey"
        " -p 192.0.2.10:80:80 -p 192.0.2.10:3121:3121  --add-host=web-0:192.0.2.10 --add-host=web-1:192.0.2.11"
    )
    assert options["db"] == (
        " -e PCMK_stderr=1 --net=host -e PCMK_remote_port=3123 -v /etc/pacemaker/authkey:/etc/pacemaker/authkey"
        " -v /var/log/pacemaker/bundles/db-0:/var/log --user=root "
    )
    assert options["bare"] == (
        " --hostname=bare-0 --environment=PCMK_stderr=1 --environment=PCMK_remote_port=3121"
        "  --hosts-entry=192.0.2.253=bare-0 --hosts-entry=192.0.2.254=bare-1"
    )


# --- what is wrong with a bundle ----------------------------------------------------------------------

INNER = '<primitive id="inner" class="ocf" provider="pacemaker" type="Dummy"/>'
ODD = {
    "no container": ('<network ip-range-start="10.0.0.1"/>', "has no docker, podman or rkt element", 0),
    "no network": (f'<docker image="x"/>{INNER}', "cannot be controlled without ip-range-start or control-port", 0),
    "one port": (
        f'<docker image="x" replicas-per-host="2"/><network control-port="3122"/>{INNER}',
        "replicas-per-host counts as 1",
        1,
    ),
    "no address": ('<docker image="x"/><network ip-range-start="fe80::1"/>', "is no IPv4 address to count up from", 1),
    "end of range": (
        '<docker image="x" replicas="2"/><network ip-range-start="10.0.254.9"/>',
        "is no IPv4 address to count up from",
        2,
    ),
    "no target": (
        '<docker image="x"/><storage><storage-mapping id="m" source-dir="/a"/></storage>',
        "needs a target-dir",
        1,
    ),
    "no port": ('<docker image="x"/><network><port-mapping id="p"/></network>', "neither port nor range", 1),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_bundle_is_read_as_pacemaker_reads_it_with_a_warning(name: str) -> None:
    inside, warning, containers = ODD[name]

    def change(root: Element) -> None:
        root.findall("configuration/resources")[0].append(ET.fromstring(f'<bundle id="odd">{inside}</bundle>'))

    cib = load_xml(cluster(change, running=False))
    transition, _, _ = answer(cib, NOW)
    assert any('"odd"' in told and warning in told for told in transition.warnings), transition.warnings
    made = {a.resource for a in transition.actions if a.resource.startswith("odd-docker-")}
    assert len(made) == containers


@pytest.mark.parametrize("value", ["", "many", "-3", "0", "99999999999999999999"])
def test_odd_numbers_of_replicas(value: str) -> None:
    cib = load_xml(cluster(configured("docker", "replicas-per-host", value), running=False))
    assert schedule(cib, NOW).summary


def test_a_connection_gives_way_to_a_resource_of_its_name() -> None:
    def change(root: Element) -> None:
        resources = root.findall("configuration/resources")[0]
        resources.insert(0, ET.fromstring('<primitive id="web-0" class="ocf" provider="pacemaker" type="Dummy"/>'))

    work = status.unpack(load_xml(cluster(change, running=False)), int(NOW.timestamp()))
    assert work.by_id["web-0"].parent is None
    assert work.nodes_by_name["pcmk-internal-httpd:0-remote-0"].guest
