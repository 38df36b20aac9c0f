"""The table of built-in kinds: what the server serves, under which names, written by which strategy.

It covers what a cluster manager and its users touch, plus the rest of the groups as plain storage, so that clients
find what they look for. What a real server offers and this one does not is named in the replay test.
"""

from __future__ import annotations

from typing import Any

from hamgr_sandbox.apiserver import cluster, columns, pods, services, volumes, workloads
from hamgr_sandbox.apiserver.kinds import ALL_VERBS, Conversion, Kind, Strategy, Subresource
from hamgr_sandbox.apiserver.selectors import accessor

Obj = dict[str, Any]

_SCALE_VERBS = ("get", "patch", "update")
_NO_COLLECTION = tuple(verb for verb in ALL_VERBS if verb != "deletecollection")
_GENERATION = Strategy(generation=True)
_REPLICAS = ("spec.replicas", "status.replicas", "spec.selector")


def _fields(*paths: str) -> dict[str, Any]:
    return {path: accessor(path) for path in paths}


_POD_FIELDS = _fields(
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
) | {"spec.hostNetwork": accessor("spec.hostNetwork", "false"), "status.podIPs": accessor("status.podIP")}

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS = _fields(*(f"involvedObject.{part}" for part in _INVOLVED), "reason", "reportingComponent", "type") | {
    "source": accessor("source.component")
}

_CORE = (
    Kind("", "v1", "ConfigMap", "configmaps", True, "V1ConfigMap", ("cm",), strategy=cluster.CONFIG_MAP),
    Kind("", "v1", "Endpoints", "endpoints", True, "V1Endpoints", ("ep",), strategy=services.ENDPOINTS,
         singular_name="endpoints"),
    Kind("", "v1", "Event", "events", True, "CoreV1Event", ("ev",), strategy=cluster.EVENT, selectable=_EVENT_FIELDS),
    Kind("", "v1", "LimitRange", "limitranges", True, "V1LimitRange", ("limits",)),
    Kind("", "v1", "Namespace", "namespaces", False, "V1Namespace", ("ns",), strategy=cluster.NAMESPACE,
         has_status=True, verbs=_NO_COLLECTION, selectable=_fields("status.phase"),
         subresources=(Subresource("finalize", "Namespace", ("update",)),)),
    Kind("", "v1", "Node", "nodes", False, "V1Node", ("no",), strategy=cluster.NODE, has_status=True,
         selectable={"spec.unschedulable": accessor("spec.unschedulable", "false")}),
    Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, "V1PersistentVolumeClaim", ("pvc",),
         strategy=volumes.CLAIM, has_status=True),
    Kind("", "v1", "PersistentVolume", "persistentvolumes", False, "V1PersistentVolume", ("pv",),
         strategy=volumes.VOLUME, has_status=True),
    Kind("", "v1", "Pod", "pods", True, "V1Pod", ("po",), ("all",), strategy=pods.STRATEGY, has_status=True,
         selectable=_POD_FIELDS,
         subresources=(
             Subresource("binding", "Binding", ("create",)),
             Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
             Subresource("log", "Pod", ("get",)),
         )),
    Kind("", "v1", "PodTemplate", "podtemplates", True, "V1PodTemplate"),
    Kind("", "v1", "ReplicationController", "replicationcontrollers", True, "V1ReplicationController", ("rc",),
         ("all",), strategy=workloads.CONTROLLER, has_status=True, scale_paths=_REPLICAS),
    Kind("", "v1", "ResourceQuota", "resourcequotas", True, "V1ResourceQuota", ("quota",), has_status=True),
    Kind("", "v1", "Secret", "secrets", True, "V1Secret", strategy=cluster.SECRET, selectable=_fields("type")),
    Kind("", "v1", "ServiceAccount", "serviceaccounts", True, "V1ServiceAccount", ("sa",),
         strategy=cluster.SERVICE_ACCOUNT,
         subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1"),)),
    Kind("", "v1", "Service", "services", True, "V1Service", ("svc",), ("all",), strategy=services.SERVICE,
         has_status=True, selectable=_fields("spec.clusterIP", "spec.type")),
)  # fmt: skip

_APPS = (
    Kind("apps", "v1", "ControllerRevision", "controllerrevisions", True, "V1ControllerRevision"),
    Kind("apps", "v1", "DaemonSet", "daemonsets", True, "V1DaemonSet", ("ds",), ("all",),
         strategy=workloads.DAEMON_SET, has_status=True),
    Kind("apps", "v1", "Deployment", "deployments", True, "V1Deployment", ("deploy",), ("all",),
         strategy=workloads.DEPLOYMENT, has_status=True, scale_paths=_REPLICAS),
    Kind("apps", "v1", "ReplicaSet", "replicasets", True, "V1ReplicaSet", ("rs",), ("all",),
         strategy=workloads.REPLICA_SET, has_status=True, scale_paths=_REPLICAS,
         selectable=_fields("status.replicas")),
    Kind("apps", "v1", "StatefulSet", "statefulsets", True, "V1StatefulSet", ("sts",), ("all",),
         strategy=workloads.STATEFUL_SET, has_status=True, scale_paths=_REPLICAS),
)  # fmt: skip


def _renamed(obj: Obj, names: dict[str, str], api_version: str) -> Obj:
    moved = {names.get(key, key): value for key, value in obj.items()}
    return {**moved, "apiVersion": api_version}


_EVENT_NAMES = {
    "message": "note",
    "involvedObject": "regarding",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_CORE_EVENT_NAMES = {value: key for key, value in _EVENT_NAMES.items()}
_CORE_EVENT_EMPTY: Obj = {"source": {}, "firstTimestamp": None, "lastTimestamp": None}


def _event_to_core(event: Obj) -> Obj:
    return {**_CORE_EVENT_EMPTY, **_renamed(event, _CORE_EVENT_NAMES, "v1")}


def _event_from_core(event: Obj) -> Obj:
    return _renamed(event, _EVENT_NAMES, "events.k8s.io/v1")


_EVENT_VIEW_FIELDS = _fields(*(f"regarding.{part}" for part in _INVOLVED), "reason", "reportingController", "type") | {
    "source": accessor("deprecatedSource.component")
}

_EVENTS = (
    Kind("events.k8s.io", "v1", "Event", "events", True, "EventsV1Event", ("ev",),
         strategy=Strategy(create_on_update=True), selectable=_EVENT_VIEW_FIELDS,
         conversion=Conversion("/events", _event_to_core, _event_from_core)),
)  # fmt: skip

_STORAGE = (
    Kind("storage.k8s.io", "v1", "CSIDriver", "csidrivers", False, "V1CSIDriver", strategy=volumes.CSI_DRIVER),
    Kind("storage.k8s.io", "v1", "CSINode", "csinodes", False, "V1CSINode", strategy=volumes.CSI_NODE),
    Kind("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", True, "V1CSIStorageCapacity",
         strategy=Strategy(returns_deleted=True)),
    Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", False, "V1StorageClass", ("sc",),
         strategy=volumes.STORAGE_CLASS),
    Kind("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", False, "V1VolumeAttachment",
         strategy=volumes.ATTACHMENT, has_status=True),
    Kind("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses", False, "V1VolumeAttributesClass",
         ("vac",)),
)  # fmt: skip

_REST = (
    Kind("coordination.k8s.io", "v1", "Lease", "leases", True, "V1Lease", strategy=cluster.LEASE),
    Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True, "V1EndpointSlice",
         strategy=services.ENDPOINT_SLICE),
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, "V1PodDisruptionBudget", ("pdb",),
         strategy=workloads.DISRUPTION_BUDGET, has_status=True),
    Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, "V1PriorityClass", ("pc",),
         strategy=cluster.PRIORITY_CLASS),
    Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False,
         "V1ClusterRoleBinding", strategy=cluster.RBAC_BINDING),
    Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False, "V1ClusterRole",
         strategy=cluster.RBAC),
    Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", True, "V1RoleBinding",
         strategy=cluster.RBAC_BINDING),
    Kind("rbac.authorization.k8s.io", "v1", "Role", "roles", True, "V1Role", strategy=cluster.RBAC),
    Kind("batch", "v1", "CronJob", "cronjobs", True, "V1CronJob", ("cj",), ("all",), strategy=_GENERATION,
         has_status=True),
    Kind("batch", "v1", "Job", "jobs", True, "V1Job", (), ("all",), strategy=workloads.JOB, has_status=True),
    Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True,
         "V2HorizontalPodAutoscaler", ("hpa",), ("all",), has_status=True),
    Kind("networking.k8s.io", "v1", "IngressClass", "ingressclasses", False, "V1IngressClass", strategy=_GENERATION),
    Kind("networking.k8s.io", "v1", "Ingress", "ingresses", True, "V1Ingress", ("ing",), strategy=_GENERATION,
         has_status=True),
    Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", True, "V1NetworkPolicy", ("netpol",),
         strategy=_GENERATION),
    Kind("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas", False, "V1FlowSchema",
         strategy=_GENERATION, has_status=True),
    Kind("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations", False,
         "V1PriorityLevelConfiguration", strategy=_GENERATION, has_status=True),
    Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False,
         "V1CustomResourceDefinition", ("crd", "crds"), ("api-extensions",), strategy=cluster.DEFINITION,
         has_status=True),
)  # fmt: skip

BUILT_IN: tuple[Kind, ...] = tuple(
    columns.with_columns(kind) for kind in (*_CORE, *_APPS, *_EVENTS, *_REST[:1], *_STORAGE, *_REST[1:])
)
