"""The nodes that a resource cannot be on, by templates and volumes: values in, location rules out."""

from __future__ import annotations

import textwrap
from typing import Any

from fixtures.leader_world import REGISTRY, World

from hamgr.cib.model import Cib, Location
from hamgr.cli.simulate_input import assembled
from hamgr.clusterfile.load import load_yaml
from hamgr.controller.fencing.targets import primitives
from hamgr.controller.placement.bars import claims_used, find_bars, with_bars
from hamgr.controller.state.cluster_state import STATE

HEAD = "cluster: shop\nnodes: [n1, n2, n3]\nfencing: {levels: [volume]}\nresources:\n"
LENT = ("default", "statefulset/web")
ZONES = {name: {"metadata": {"name": name, "labels": {"zone": zone}}} for name, zone in (("n1", "a"), ("n2", "b"))}


def cib(resources: str) -> Cib:
    text = HEAD + textwrap.indent(textwrap.dedent(resources).strip(), "  ")
    return load_yaml(text, "shop.yaml", REGISTRY.specs()).to_live_cib()


def zoned(name: str, zone: str) -> dict[str, Any]:
    leader = {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}
    return {"metadata": {"name": name}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [leader]}}}}


def bars(resources: str, **given: Any) -> dict[str, dict[str, str]]:
    volumes, workloads = given.get("volumes", {}), given.get("workloads", {})
    found = find_bars(cib(resources), ZONES, volumes, workloads, given.get("active", ()))
    return {resource: dict(nodes) for resource, nodes in found.items()}


def test_a_disk_of_a_zone_bars_the_nodes_of_the_others() -> None:
    disk = "- {id: disk, agent: volume, params: {claim: data}}"
    volumes = {("default", "data"): zoned("pv-1", "a")}
    assert bars(disk, volumes=volumes) == {"disk": {"n2": "PersistentVolume pv-1 is for nodes with zone=a"}}
    assert bars(disk) == {}


def test_a_template_with_a_selector_bars_the_nodes_without_the_label() -> None:
    spec = "{nodeSelector: {zone: b}, containers: [{name: c, image: i}]}"
    pod = f"- {{id: db, agent: pod, params: {{template: {{spec: {spec}}}}}}}"
    assert bars(pod) == {"db": {"n1": "nodeSelector wants zone=b"}}
    assert bars(pod, active={("db", "n1")}) == {}  # IgnoredDuringExecution


def test_a_lent_template_counts_and_so_do_the_claims_of_a_stateful_set() -> None:
    pod = "- {id: web, agent: pod, params: {template_from: statefulset/web}}"
    template = {"spec": {"nodeSelector": {"zone": "a"}, "containers": []}}
    claims = [{"metadata": {"name": "www"}}]
    workload = {"metadata": {"name": "web"}, "spec": {"template": template, "volumeClaimTemplates": claims}}
    assert bars(pod, workloads={LENT: workload}) == {"web": {"n2": "nodeSelector wants zone=a"}}
    (primitive,) = [p for p in primitives(cib(pod)) if p.id == "web"]
    assert claims_used(primitive, {LENT: workload}) == (("default", "www-web-0"),)
    volumes = {("default", "www-web-0"): zoned("pv-1", "b")}
    assert set(bars(pod, workloads={LENT: workload}, volumes=volumes)["web"]) == {"n1", "n2"}


def test_what_is_barred_becomes_a_location_rule_for_what_is_configured() -> None:
    config = cib("- {id: disk, agent: volume, params: {claim: data}}")
    added = with_bars(config, {"disk": {"n2": "zone", "gone": "zone"}, "former": {"n1": "zone"}}).constraints
    assert [entry for entry in added if isinstance(entry, Location) and entry not in config.constraints] == [
        Location("hamgr-cannot-run-disk-on-n2", "disk", node="n2", score=-1_000_000)
    ]
    assert with_bars(config, {}) is config


def test_the_leader_and_a_simulation_of_the_running_cluster_see_the_same() -> None:
    world = World()
    world.settle()
    world.leader.cluster_state.set_bars({"db": {"n1": "nodeSelector wants zone=b"}})
    world.leader.touch("test")
    world.settle()
    assert world.where("db") != ["n1"]
    assert world.leader.configuration is not None
    live = assembled(world.leader.configuration, world.etcd.snapshot(STATE), "n1")
    assert live.constraints == world.leader.cib().constraints
    assert "hamgr-cannot-run-db-on-n1" in {entry.id for entry in live.constraints}
