"""Templates become pods: pure JSON in, JSON out."""

from __future__ import annotations

from typing import Any

import pytest
from hamgr_agents.pod_template import (
    ANNOTATION_TEMPLATE,
    TemplateError,
    parked,
    parse_source,
    parse_template,
    references,
    render,
    secret_behind,
    simple_template,
    workload_template,
)

from hamgr.kube.objects import DEPLOYMENT, STATEFUL_SET
from hamgr.kube.volumes import claims_of

SPEC: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}]}


def rendered(template: dict[str, Any], node: str = "n1") -> dict[str, Any]:
    return render(template, cluster="prod", resource="db", node=node, namespace="shop")


def test_a_bare_spec_and_a_full_template_are_the_same() -> None:
    assert parse_template("containers: [{name: c, image: i}]") == {"spec": SPEC}
    assert parse_template('{"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i"}]}}')["spec"] == SPEC


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not valid YAML"),
        ("[]", "is not a mapping"),
        ("metadata: {}", "has no spec.containers"),
        ("containers: []", "has no spec.containers"),
        ("containers: [{name: c}]", "without name or image"),
    ],
)
def test_unusable_templates(text: str, words: str) -> None:
    with pytest.raises(TemplateError, match=words):
        parse_template(text)


def test_a_pod_is_bound_named_and_labeled() -> None:
    labels = {"app": "db", "pod-template-hash": "1", "hamgr.io/role": "active"}
    spec = SPEC | {"nodeName": "other", "schedulingGates": [{"name": "x"}], "schedulerName": "default-scheduler"}
    made = rendered({"metadata": {"labels": labels}, "spec": spec})
    assert made["metadata"]["name"] == "db-n1"
    assert made["metadata"]["namespace"] == "shop"
    assert made["metadata"]["labels"] == {
        "app": "db",
        "hamgr.io/cluster": "prod",
        "hamgr.io/resource": "db",
        "hamgr.io/node": "n1",
    }
    assert "nodeName" not in made["spec"], "it would start before anybody has bound it"
    assert made["spec"]["schedulerName"] == "hamgr"
    assert "schedulingGates" not in made["spec"]
    assert labels["hamgr.io/role"] == "active"


def test_kubernetes_does_not_evict_on_its_own_unless_told_to() -> None:
    own = [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 5}]
    made = rendered({"spec": SPEC | {"tolerations": own}})
    assert made["spec"]["tolerations"] == [
        *own,
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    ]


def test_the_fingerprint_follows_the_template_and_nothing_else() -> None:
    def print_of(template: dict[str, Any]) -> str:
        return str(rendered(template)["metadata"]["annotations"][ANNOTATION_TEMPLATE])

    assert print_of({"spec": SPEC}) == print_of({"spec": dict(SPEC)})
    assert print_of({"spec": SPEC}) != print_of({"spec": SPEC | {"terminationGracePeriodSeconds": 5}})
    made = rendered({"spec": SPEC})
    waiting = parked(made)
    assert waiting["metadata"]["annotations"]["hamgr.io/parked"] == "true"
    assert waiting["metadata"]["annotations"][ANNOTATION_TEMPLATE] == print_of({"spec": SPEC})
    assert "hamgr.io/parked" not in made["metadata"]["annotations"]


def test_the_shortcut_of_one_image() -> None:
    made = rendered(simple_template("mariadb:10.11", 3306, "data", "/var/lib/mysql"))
    (container,) = made["spec"]["containers"]
    assert container["readinessProbe"]["tcpSocket"] == {"port": 3306}
    assert claims_of(made) == ("data",)
    with pytest.raises(TemplateError, match="belong together"):
        simple_template("i", None, "data", "")


def workload(replicas: int | None, left: int = 0, **spec: Any) -> dict[str, Any]:
    body = {"template": {"spec": SPEC}} | ({} if replicas is None else {"replicas": replicas}) | spec
    return {"metadata": {"name": "db"}, "spec": body, "status": {"replicas": left}}


def test_a_workload_must_be_idle() -> None:
    for busy in (workload(2), workload(None)):
        with pytest.raises(TemplateError, match=r"Deployment db still asks for [12] replicas"):
            workload_template(busy, DEPLOYMENT)
    with pytest.raises(TemplateError, match="1 of its pods still exist"):
        workload_template(workload(0, left=1), DEPLOYMENT)
    assert workload_template(workload(0), DEPLOYMENT) == {"spec": SPEC}


def test_a_stateful_sets_first_claim_is_kept() -> None:
    claims = [{"metadata": {"name": "data"}}]
    original = workload(0, volumeClaimTemplates=claims)
    template = workload_template(original, STATEFUL_SET)
    assert claims_of(rendered(template)) == ("data-db-0",)
    assert "volumes" not in original["spec"]["template"]["spec"]


def test_a_host_name_stays_as_written_on_whatever_node() -> None:
    spec = SPEC | {"hostname": "rabbit", "subdomain": "rabbit-headless"}
    for node in ("n1", "n2"):
        made = rendered({"spec": spec}, node)["spec"]
        assert (made["hostname"], made["subdomain"]) == ("rabbit", "rabbit-headless")


def test_a_stateful_sets_first_pod_keeps_its_stable_identity() -> None:
    made = rendered(workload_template(workload(0, serviceName="peers"), STATEFUL_SET))["spec"]
    assert (made["hostname"], made["subdomain"]) == ("db-0", "peers")
    several = rendered(workload_template(workload(0, serviceName="peers"), STATEFUL_SET, identity=False))["spec"]
    assert "hostname" not in several
    assert "hostname" not in rendered(workload_template(workload(0), DEPLOYMENT))["spec"]


def test_ordinals_may_begin_elsewhere_and_a_claim_template_wins_over_a_volume_of_its_name() -> None:
    template = {"spec": SPEC | {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}}
    claims = [{"metadata": {"name": "data"}}]
    source = workload(0, template=template, volumeClaimTemplates=claims, ordinals={"start": 3})
    made = rendered(workload_template(source, STATEFUL_SET))
    assert claims_of(made) == ("data-db-3",)
    assert [volume["name"] for volume in made["spec"]["volumes"]] == ["tmp", "data"]
    assert made["spec"]["hostname"] == "db-3"


def test_sources() -> None:
    assert parse_source("statefulset/db") == (STATEFUL_SET, "db")
    for wrong in ("db", "pod/db", "deployment/", "deployment/a/b"):
        with pytest.raises(TemplateError, match="must be deployment/NAME"):
            parse_source(wrong)


def test_what_a_pod_cannot_start_without() -> None:
    key = {"name": "root", "key": "password"}
    spec = {
        "containers": [
            {
                "name": "c",
                "image": "i",
                "env": [
                    {"name": "MARIADB_ROOT_PASSWORD", "valueFrom": {"secretKeyRef": key}},
                    {"name": "MAYBE", "valueFrom": {"secretKeyRef": key | {"name": "maybe", "optional": True}}},
                    {"name": "FIELD", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                ],
                "envFrom": [{"configMapRef": {"name": "settings"}}],
            }
        ],
        "volumes": [
            {"name": "conf", "configMap": {"name": "my-cnf"}},
            {"name": "again", "secret": {"secretName": "root"}},
            {"name": "all", "projected": {"sources": [{"secret": {"name": "tls"}}, {"downwardAPI": {}}]}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    found = [(r.kind.name, r.name, r.used_for) for r in references({"spec": spec})]
    assert found == [
        ("Secret", "root", "environment variable MARIADB_ROOT_PASSWORD of container c"),
        ("ConfigMap", "settings", "the environment of container c"),
        ("ConfigMap", "my-cnf", "volume conf"),
        ("Secret", "tls", "volume all"),
    ]
    assert secret_behind({"spec": spec}, ("NOPE", "MARIADB_ROOT_PASSWORD")) == ("root", "password")
    assert secret_behind({"spec": SPEC}, ("MARIADB_ROOT_PASSWORD",)) is None
