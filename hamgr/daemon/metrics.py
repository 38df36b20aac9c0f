"""Prometheus metrics: how this daemon is, and, on the leader, how the cluster is.

What concerns the cluster is read from the status document at each scrape, so that it cannot differ from `hamgr status`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hamgr.api.status import ResourceStatus, StatusDoc, verdict
from hamgr.store.errors import StoreError
from hamgr.store.store import Store


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures come from; all may be asked from any thread."""

    store: Store
    leading: Callable[[], bool]
    kube_staleness_s: Callable[[], float] | None = None
    log_lines_dropped: Callable[[], int] = lambda: 0


class Figures(Collector):
    """Collects at scrape time."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        sources = self._sources
        yield _gauge("hamgr_leader", "Whether this daemon leads.", float(sources.leading()))
        yield _gauge("hamgr_etcd_staleness_seconds", "Age of our view of etcd.", sources.store.staleness_s())
        if sources.kube_staleness_s is not None:
            yield _gauge("hamgr_kube_staleness_seconds", "Age of our view of Kubernetes.", sources.kube_staleness_s())
        dropped = "Lines of the log that could not be written."
        yield CounterMetricFamily("hamgr_log_lines_dropped", dropped, value=float(sources.log_lines_dropped()))
        if sources.leading():
            yield from self._cluster()

    def _cluster(self) -> Iterator[Metric]:
        try:
            entry = self._sources.store.get("status")
            document = StatusDoc.from_value(entry.value) if entry is not None else None
        except (StoreError, ValueError):
            return
        if document is not None:
            yield from cluster_metrics(document)


def cluster_metrics(document: StatusDoc) -> Iterator[Metric]:
    """The status document's figures. Pure."""
    yield _gauge("hamgr_quorum", "Whether the cluster has quorum.", float(document.quorum))
    yield _gauge("hamgr_maintenance", "Whether maintenance-mode is on.", float(document.maintenance))
    text = "How the cluster is, as `hamgr status -s` exits: 0 OK, 1 WARN, 2 CRIT."
    yield _gauge("hamgr_verdict", text, float(verdict(document.found)))
    findings = GaugeMetricFamily("hamgr_findings", "What a person should look at.", labels=["severity", "code"])
    for (severity, code), count in Counter((found.severity, found.code) for found in document.found).items():
        findings.add_metric([severity, code], float(count))
    yield findings
    nodes = GaugeMetricFamily("hamgr_node_online", "Whether the node takes part.", labels=["member"])
    unclean = GaugeMetricFamily("hamgr_node_unclean", "Whether the node must be fenced.", labels=["member"])
    for node in document.nodes:
        nodes.add_metric([node.name], float(node.online))
        unclean.add_metric([node.name], float(node.unclean))
    yield nodes
    yield unclean
    running = GaugeMetricFamily("hamgr_resource_running", "Instances that are active.", labels=["resource"])
    failed = GaugeMetricFamily("hamgr_resource_failed", "Whether it is failed or blocked.", labels=["resource"])
    for resource in _primitives(document.resources):
        running.add_metric([resource.id], float(len(resource.nodes)))
        failed.add_metric([resource.id], float(resource.failed or resource.blocked))
    yield running
    yield failed
    fences = GaugeMetricFamily("hamgr_fences", "Fences in the history that is kept.", labels=["outcome"])
    for outcome in ("succeeded", "failed", "pending", "superseded"):
        fences.add_metric([outcome], float(sum(fence.outcome == outcome for fence in document.fencing)))
    yield fences


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _primitives(resources: Iterable[ResourceStatus]) -> Iterator[ResourceStatus]:
    for resource in resources:
        if resource.kind == "primitive":
            yield resource
        yield from _primitives(resource.children)


def serve(listen: str, sources: Sources) -> Callable[[], None]:
    """Begin to serve; returns what ends it. Raises OSError when the address cannot be had."""
    host, _, port = listen.rpartition(":")
    registry = CollectorRegistry()
    registry.register(Figures(sources))
    server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)

    return stop
