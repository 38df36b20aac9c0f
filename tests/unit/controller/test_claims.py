"""Two users of one disk are seen before anything starts: configuration in, sentences out."""

from __future__ import annotations

import textwrap

from hamgr.clusterfile.load import ClusterFile, load_yaml
from hamgr.controller.disks.claims import doubled_parameters, refused_sharing
from hamgr.executor.registry import Registry

TEMPLATE = (
    "{spec: {containers: [{name: c, image: i}], volumes: [{name: v, persistentVolumeClaim: {claimName: data%s}}]}}"
)


def load(resources: str) -> ClusterFile:
    head = "cluster: shop\nnodes: [n1, n2]\nfencing: {levels: [volume]}\nresources:\n"
    return load_yaml(head + textwrap.indent(textwrap.dedent(resources).strip(), "  "), "shop.yaml", Registry().specs())


def doubled(resources: str) -> list[str]:
    found = load(resources)
    return list(doubled_parameters(found.to_cib(), found.agents))


def test_two_volumes_of_one_claim_are_refused_by_the_parameter_that_is_unique() -> None:
    (told,) = doubled("- {id: a, agent: volume, params: {claim: d}}\n- {id: b, agent: volume, params: {claim: d}}")
    assert told.startswith("resources a and b of agent volume have the same claim 'd' in namespace default")
    assert doubled("- {id: a, agent: volume, params: {claim: d}}\n- {id: b, agent: volume, params: {claim: e}}") == []


def test_a_name_is_unique_within_its_namespace() -> None:
    apart = "- {id: a, agent: volume, params: {claim: d}}\n- {id: b, agent: volume, params: {claim: d, namespace: x}}"
    assert doubled(apart) == []


def test_each_agent_has_parameters_of_its_own() -> None:
    services = "\n".join(
        f"- {{id: {name}, agent: service, params: {{service: db, resource: x}}}}" for name in ("a", "b")
    )
    (told,) = doubled(services)
    assert "agent service have the same service 'db'" in told


def pods(*more: str, second: str = "") -> str:
    entries = [
        "- {id: a, agent: pod, params: {template: %s}}" % (TEMPLATE % ""),
        "- {id: b, agent: pod, params: {template: %s}}" % (TEMPLATE % second),
    ]
    return "\n".join([*entries, *more])


def test_two_pods_of_a_disk_that_one_may_have_are_refused() -> None:
    disk = "- {id: disk, agent: volume, params: {claim: data}}"
    (told,) = refused_sharing(load(pods(disk)).to_cib())
    assert told.startswith("the pods of a and b all write to claim default/data, the disk of a volume resource")
    simple = "- {id: c, agent: pod, params: {image: i, claim: data, mount_path: /d}}"
    (told,) = refused_sharing(load(pods(disk, simple)).to_cib())
    assert told.startswith("the pods of a, b and c all write")


def test_a_disk_and_its_one_pod_are_no_conflict() -> None:
    found = load("- {id: disk, agent: volume, params: {claim: data}}\n" + pods().splitlines()[0])
    assert [*doubled_parameters(found.to_cib(), found.agents), *refused_sharing(found.to_cib())] == []


def test_a_reader_is_no_writer() -> None:
    disk = "- {id: disk, agent: volume, params: {claim: data}}"
    assert list(refused_sharing(load(pods(disk, second=", readOnly: true")).to_cib())) == []


def test_two_pods_of_one_claim_are_refused_without_a_volume_resource_as_well() -> None:
    (told,) = refused_sharing(load(pods()).to_cib())
    assert told.startswith("the pods of a and b all write to claim default/data, and one pod at a time may write to a")
    group = "- group: g\n  members:\n" + textwrap.indent(pods(), "    ")
    assert len(list(refused_sharing(load(group).to_cib()))) == 1, "one node does not make them one writer"


def test_containers_of_one_pod_are_one_user() -> None:
    volumes = "{name: v, persistentVolumeClaim: {claimName: d}}, {name: w, persistentVolumeClaim: {claimName: d}}"
    containers = "{name: c, image: i}, {name: d, image: i}"
    params = f"{{template: {{spec: {{containers: [{containers}], volumes: [{volumes}]}}}}}}"
    assert list(refused_sharing(load(f"- {{id: a, agent: pod, params: {params}}}").to_cib())) == []


def sharing(name: str, more: str = "") -> str:
    return f"- {{id: {name}, agent: pod, params: {{image: i, claim: data, mount_path: /d{more}}}}}"


def test_a_claim_that_may_have_many_writers_is_one_that_all_of_them_say_they_share() -> None:
    both = [sharing(name, ", shared_claims: 'logs, data'") for name in ("a", "b")]
    assert list(refused_sharing(load("\n".join(both)).to_cib())) == []
    (told,) = refused_sharing(load("\n".join([both[0], sharing("b")])).to_cib())
    assert told.endswith("say `shared_claims: data` (b)")
    disk = "- {id: disk, agent: volume, params: {claim: data}}"
    (told,) = refused_sharing(load("\n".join([*both, disk])).to_cib())
    assert "the disk of a volume resource" in told, "whatever they say"
