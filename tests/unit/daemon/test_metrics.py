"""The status document as Prometheus figures."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from hamgr.api.status import CRITICAL, FenceStatus, Finding, NodeStatus, ResourceStatus, StatusDoc
from hamgr.cli.render.status import render_oneline
from hamgr.daemon.metrics import cluster_metrics


def exposed(document):
    class Fixed(Collector):
        def collect(self):
            return cluster_metrics(document)

    registry = CollectorRegistry()
    registry.register(Fixed())
    return generate_latest(registry).decode().splitlines()


def test_nodes_resources_and_fences_are_counted():
    group = ResourceStatus(
        "g",
        kind="group",
        children=(ResourceStatus("a", nodes=("n1",)), ResourceStatus("b", failed=True)),
    )
    lines = exposed(
        StatusDoc(
            "c",
            quorum=True,
            nodes=(NodeStatus("n1", online=True), NodeStatus("n2", unclean=True)),
            resources=(group,),
            fencing=(FenceStatus("1", "n2", "succeeded"), FenceStatus("2", "n2", "failed")),
        )
    )
    for line in (
        "hamgr_quorum 1.0",
        "hamgr_maintenance 0.0",
        'hamgr_node_online{member="n1"} 1.0',
        'hamgr_node_unclean{member="n2"} 1.0',
        'hamgr_resource_running{resource="a"} 1.0',
        'hamgr_resource_running{resource="b"} 0.0',
        'hamgr_resource_failed{resource="b"} 1.0',
        'hamgr_fences{outcome="succeeded"} 1.0',
        'hamgr_fences{outcome="pending"} 0.0',
    ):
        assert line in lines
    assert not any('resource="g"' in line for line in lines)


def test_the_verdict_and_what_was_found_are_those_of_the_status_line():
    found = (Finding("node-offline", "n3"), Finding("node-offline", "n2"), Finding("resource-down", "db", CRITICAL))
    document = StatusDoc("c").with_findings(found)
    lines = exposed(document)
    assert "hamgr_verdict 2.0" in lines
    assert 'hamgr_findings{code="node-offline",severity="warning"} 2.0' in lines
    assert 'hamgr_findings{code="resource-down",severity="critical"} 1.0' in lines
    assert render_oneline(document)[1] == 2
    assert "hamgr_verdict 0.0" in exposed(StatusDoc("c"))
