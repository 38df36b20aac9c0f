"""The columns that `kubectl get` shows for each kind, computed here as a real API server computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hamgr_sandbox.apiserver import schema
from hamgr_sandbox.apiserver.clock import parse
from hamgr_sandbox.apiserver.kinds import Column, Kind

Obj = dict[str, Any]
Cell = Callable[[Obj], Any]

NONE = "<none>"
UNKNOWN = "<unknown>"


def age(text: str | None) -> str:
    """How long ago, as kubectl writes it: 5s, 3m20s, 2h, 4d."""
    if not text:
        return UNKNOWN
    return duration((datetime.now(UTC) - parse(text)).total_seconds())


def duration(seconds: float) -> str:
    """A span with at most two units, coarser the longer it is."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y"


def at(obj: Any, path: str, default: Any = None) -> Any:
    """The value at a dotted path; a number is an index into a list."""
    for step in path.split("."):
        if isinstance(obj, list):
            obj = obj[int(step)] if step.isdigit() and int(step) < len(obj) else None
        else:
            obj = obj.get(step) if isinstance(obj, dict) else None
    return default if obj is None else obj


def text(path: str, default: str = NONE) -> Cell:
    """A cell that shows a field; `default` where it is empty."""

    def cell(obj: Obj) -> str:
        value = at(obj, path)
        if isinstance(value, bool):
            return "true" if value else "false"
        return default if value in (None, "") else str(value)

    return cell


def number(path: str) -> Cell:
    def cell(obj: Obj) -> int:
        value = at(obj, path, 0)
        return int(value)

    return cell


def joined(path: str, item: str = "") -> Cell:
    """A cell that shows the elements of a list."""

    def cell(obj: Obj) -> str:
        found = [str(at(one, item, "") if item else one) for one in at(obj, path, [])]
        return ",".join(found) or NONE

    return cell


def _selector(path: str) -> Cell:
    def cell(obj: Obj) -> str:
        labels = at(obj, path, {})
        return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE

    return cell


def _created(obj: Obj) -> str:
    return age(at(obj, "metadata.creationTimestamp"))


# --- pods -------------------------------------------------------------------------------------------------------------


def _pod_ready(pod: Obj) -> str:
    statuses = at(pod, "status.containerStatuses", [])
    ready = sum(1 for one in statuses if one.get("ready") and "running" in one.get("state", {}))
    return f"{ready}/{len(at(pod, 'spec.containers', []))}"


def _init_reason(pod: Obj) -> str:
    """How far the init containers are, "" when all have ended well."""
    statuses = at(pod, "status.initContainerStatuses", [])
    for i, one in enumerate(statuses):
        state = one.get("state", {})
        if at(state, "terminated.exitCode") == 0 or one.get("started"):
            continue
        ended = state.get("terminated")
        if ended:
            return f"Init:{ended.get('reason') or 'ExitCode:' + str(ended.get('exitCode'))}"
        waiting = at(state, "waiting.reason", "")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{i}/{len(at(pod, 'spec.initContainers', []))}"
    return ""


def pod_status(pod: Obj) -> str:
    """The word that sums a pod up: Running, CrashLoopBackOff, Terminating, Completed..."""
    reason = str(at(pod, "status.reason") or at(pod, "status.phase", ""))
    conditions = {one["type"]: one for one in at(pod, "status.conditions", [])}
    if at(conditions, "PodScheduled.reason") == "SchedulingGated":
        reason = "SchedulingGated" if conditions["PodScheduled"]["status"] == "False" else reason
    initializing = _init_reason(pod)
    if initializing:
        reason = initializing
    else:
        running = False
        for one in reversed(at(pod, "status.containerStatuses", [])):
            state = one.get("state", {})
            if at(state, "waiting.reason"):
                reason = state["waiting"]["reason"]
            elif "terminated" in state:
                ended = state["terminated"]
                signal = ended.get("signal")
                fallback = f"Signal:{signal}" if signal else f"ExitCode:{ended.get('exitCode')}"
                reason = ended.get("reason") or fallback
            elif one.get("ready") and "running" in state:
                running = True
        if reason == "Completed" and running:
            ready = at(conditions, "Ready.status") == "True"
            reason = "Running" if ready else "NotReady"
    if "deletionTimestamp" in pod["metadata"]:
        if at(pod, "status.reason") == "NodeLost":
            return "Unknown"
        return reason if at(pod, "status.phase") in ("Succeeded", "Failed") else "Terminating"
    return reason


def _pod_restarts(pod: Obj) -> str:
    statuses = at(pod, "status.containerStatuses", [])
    total = sum(one.get("restartCount", 0) for one in statuses)
    ends = [at(one, "lastState.terminated.finishedAt") for one in statuses]
    last = max((one for one in ends if one), default="")
    return f"{total} ({age(last)} ago)" if total and last else str(total)


def _readiness_gates(pod: Obj) -> str:
    gates = at(pod, "spec.readinessGates", [])
    if not gates:
        return NONE
    met = {one["type"] for one in at(pod, "status.conditions", []) if one["status"] == "True"}
    return f"{sum(1 for gate in gates if gate['conditionType'] in met)}/{len(gates)}"


# --- nodes ------------------------------------------------------------------------------------------------------------


def _node_status(node: Obj) -> str:
    ready = [one for one in at(node, "status.conditions", []) if one["type"] == "Ready"]
    words = ["Ready" if one["status"] == "True" else "NotReady" for one in ready] or ["Unknown"]
    if at(node, "spec.unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _node_roles(node: Obj) -> str:
    prefix = "node-role.kubernetes.io/"
    return (
        ",".join(sorted(key[len(prefix) :] for key in at(node, "metadata.labels", {}) if key.startswith(prefix)))
        or NONE
    )


def _node_address(kind: str) -> Cell:
    def cell(node: Obj) -> str:
        found = [one["address"] for one in at(node, "status.addresses", []) if one["type"] == kind]
        return found[0] if found else NONE

    return cell


# --- volumes, services, workloads -------------------------------------------------------------------------------------

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _modes(path: str) -> Cell:
    return lambda obj: ",".join(_MODES.get(one, one) for one in at(obj, path, []))


def _phase(obj: Obj) -> str:
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else str(at(obj, "status.phase", ""))


def _claim_of(volume: Obj) -> str:
    claim = at(volume, "spec.claimRef")
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


def _external(service: Obj) -> str:
    kind = at(service, "spec.type")
    given = at(service, "spec.externalIPs", [])
    if kind == "ExternalName":
        return str(at(service, "spec.externalName", NONE))
    if kind != "LoadBalancer":
        return ",".join(given) or NONE
    ingress = [one.get("ip") or one.get("hostname", "") for one in at(service, "status.loadBalancer.ingress", [])]
    return ",".join([*ingress, *given]) or "<pending>"


def _ports(service: Obj) -> str:
    found = []
    for port in at(service, "spec.ports", []):
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        found.append(f"{port['port']}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(found) or NONE


def _endpoint_list(endpoints: Obj) -> str:
    found = []
    for subset in at(endpoints, "subsets", []):
        ports = subset.get("ports") or [{}]
        found += [
            f"{one['ip']}:{port['port']}" if "port" in port else one["ip"]
            for one in subset.get("addresses") or []
            for port in ports
        ]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more if found else NONE


def _slice_ports(obj: Obj) -> str:
    return ",".join(str(port.get("port", "*")) for port in at(obj, "ports", [])) or "<unset>"


def _slice_addresses(obj: Obj) -> str:
    found = [address for one in at(obj, "endpoints", []) for address in one.get("addresses") or []]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more if found else "<unset>"


def _ready_of(ready: str, wanted: str) -> Cell:
    return lambda obj: f"{at(obj, ready, 0)}/{at(obj, wanted, 0)}"


def _event_target(event: Obj) -> str:
    involved = event.get("involvedObject") or event.get("regarding") or {}
    return f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"


def _event_seen(event: Obj) -> str:
    moments = ("lastTimestamp", "deprecatedLastTimestamp", "series.lastObservedTime", "eventTime", "firstTimestamp")
    found = next((at(event, one) for one in moments if at(event, one)), None)
    return age(found or at(event, "metadata.creationTimestamp"))


def _event_source(event: Obj) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    return f"{component}, {source['host']}" if source.get("host") else component


def _class_name(obj: Obj) -> str:
    default = at(obj, "metadata.annotations", {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    return f"{obj['metadata']['name']} (default)" if default else str(obj["metadata"]["name"])


# --- the table --------------------------------------------------------------------------------------------------------


def _column(name: str, cell: Cell, kind: str = "string", wide: bool = False, about: str = "") -> Column:
    return Column(name, cell, kind, "", 1 if wide else 0, about or f"{name} of this object.")


_NAME = Column("Name", text("metadata.name"), "string", "name", 0, schema.descriptions("V1ObjectMeta").get("name", ""))
_AGE = Column("Age", _created, "string", "", 0, schema.descriptions("V1ObjectMeta").get("creationTimestamp", ""))


def _images(path: str) -> tuple[Column, ...]:
    return (
        _column("Containers", joined(f"{path}.containers", "name"), wide=True),
        _column("Images", joined(f"{path}.containers", "image"), wide=True),
    )


_TEMPLATE = _images("spec.template.spec")
_MATCH = _column("Selector", _selector("spec.selector.matchLabels"), wide=True)

_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "pods": (
        _NAME,
        _column("Ready", _pod_ready, about="The aggregate readiness state of this pod for accepting traffic."),
        _column("Status", pod_status, about="The aggregate status of the containers in this pod."),
        _column("Restarts", _pod_restarts, about="How often the containers of this pod were restarted, and when last."),
        _AGE,
        _column("IP", text("status.podIP"), wide=True),
        _column("Node", text("spec.nodeName"), wide=True),
        _column("Nominated Node", text("status.nominatedNodeName"), wide=True),
        _column("Readiness Gates", _readiness_gates, wide=True),
    ),
    "nodes": (
        _NAME,
        _column("Status", _node_status),
        _column("Roles", _node_roles),
        _AGE,
        _column("Version", text("status.nodeInfo.kubeletVersion", "")),
        _column("Internal-IP", _node_address("InternalIP"), wide=True),
        _column("External-IP", _node_address("ExternalIP"), wide=True),
        _column("OS-Image", text("status.nodeInfo.osImage", UNKNOWN), wide=True),
        _column("Kernel-Version", text("status.nodeInfo.kernelVersion", UNKNOWN), wide=True),
        _column("Container-Runtime", text("status.nodeInfo.containerRuntimeVersion", UNKNOWN), wide=True),
    ),
    "namespaces": (_NAME, _column("Status", text("status.phase", "")), _AGE),
    "services": (
        _NAME,
        _column("Type", text("spec.type")),
        _column("Cluster-IP", text("spec.clusterIP")),
        _column("External-IP", _external),
        _column("Port(s)", _ports),
        _AGE,
        _column("Selector", _selector("spec.selector"), wide=True),
    ),
    "endpoints": (_NAME, _column("Endpoints", _endpoint_list), _AGE),
    "endpointslices": (
        _NAME,
        _column("AddressType", text("addressType")),
        _column("Ports", _slice_ports),
        _column("Endpoints", _slice_addresses),
        _AGE,
    ),
    "persistentvolumeclaims": (
        _NAME,
        _column("Status", _phase),
        _column("Volume", text("spec.volumeName", "")),
        _column("Capacity", text("status.capacity.storage", "")),
        _column("Access Modes", _modes("status.accessModes")),
        _column("StorageClass", text("spec.storageClassName", "")),
        _column("VolumeAttributesClass", text("spec.volumeAttributesClassName", "<unset>")),
        _AGE,
        _column("VolumeMode", text("spec.volumeMode", "<unset>"), wide=True),
    ),
    "persistentvolumes": (
        _NAME,
        _column("Capacity", text("spec.capacity.storage", "")),
        _column("Access Modes", _modes("spec.accessModes")),
        _column("Reclaim Policy", text("spec.persistentVolumeReclaimPolicy")),
        _column("Status", _phase),
        _column("Claim", _claim_of),
        _column("StorageClass", text("spec.storageClassName", "")),
        _column("VolumeAttributesClass", text("spec.volumeAttributesClassName", "<unset>")),
        _column("Reason", text("status.reason", "")),
        _AGE,
        _column("VolumeMode", text("spec.volumeMode", "<unset>"), wide=True),
    ),
    "storageclasses": (
        replace(_NAME, cell=_class_name),
        _column("Provisioner", text("provisioner")),
        _column("ReclaimPolicy", text("reclaimPolicy")),
        _column("VolumeBindingMode", text("volumeBindingMode")),
        _column("AllowVolumeExpansion", text("allowVolumeExpansion", "false")),
        _AGE,
    ),
    "volumeattachments": (
        _NAME,
        _column("Attacher", text("spec.attacher", "")),
        _column("PV", text("spec.source.persistentVolumeName", "")),
        _column("Node", text("spec.nodeName", "")),
        _column("Attached", lambda obj: bool(at(obj, "status.attached", False)), "boolean"),
        _AGE,
    ),
    "csidrivers": (
        _NAME,
        _column("AttachRequired", lambda obj: at(obj, "spec.attachRequired", True), "boolean"),
        _column("PodInfoOnMount", lambda obj: at(obj, "spec.podInfoOnMount", False), "boolean"),
        _column("StorageCapacity", lambda obj: at(obj, "spec.storageCapacity", False), "boolean"),
        _column("TokenRequests", joined("spec.tokenRequests", "audience")),
        _column("RequiresRepublish", lambda obj: at(obj, "spec.requiresRepublish", False), "boolean"),
        _column("Modes", joined("spec.volumeLifecycleModes")),
        _AGE,
    ),
    "csinodes": (_NAME, _column("Drivers", lambda obj: len(at(obj, "spec.drivers", [])), "integer"), _AGE),
    "leases": (_NAME, _column("Holder", text("spec.holderIdentity", "")), _AGE),
    "events": (
        _column("Last Seen", _event_seen),
        _column("Type", text("type", "")),
        _column("Reason", text("reason", "")),
        _column("Object", _event_target),
        _column("Subobject", text("involvedObject.fieldPath", ""), wide=True),
        _column("Source", _event_source, wide=True),
        _column("Message", lambda obj: str(obj.get("message") or obj.get("note") or "").strip()),
        _column("First Seen", _event_seen, wide=True),
        _column("Count", lambda obj: obj.get("count") or obj.get("deprecatedCount") or 1, "integer", wide=True),
        replace(_NAME, priority=1),
    ),
    "secrets": (
        _NAME,
        _column("Type", text("type", "")),
        _column("Data", lambda obj: len(at(obj, "data", {})), "integer"),
        _AGE,
    ),
    "configmaps": (
        _NAME,
        _column("Data", lambda obj: len(at(obj, "data", {})) + len(at(obj, "binaryData", {})), "integer"),
        _AGE,
    ),
    "serviceaccounts": (_NAME, _column("Secrets", lambda obj: len(at(obj, "secrets", [])), "integer"), _AGE),
    "deployments": (
        _NAME,
        _column("Ready", _ready_of("status.readyReplicas", "spec.replicas")),
        _column("Up-to-date", number("status.updatedReplicas"), "integer"),
        _column("Available", number("status.availableReplicas"), "integer"),
        _AGE,
        *_TEMPLATE,
        _MATCH,
    ),
    "replicasets": (
        _NAME,
        _column("Desired", number("spec.replicas"), "integer"),
        _column("Current", number("status.replicas"), "integer"),
        _column("Ready", number("status.readyReplicas"), "integer"),
        _AGE,
        *_TEMPLATE,
        _MATCH,
    ),
    "statefulsets": (_NAME, _column("Ready", _ready_of("status.readyReplicas", "spec.replicas")), _AGE, *_TEMPLATE),
    "daemonsets": (
        _NAME,
        _column("Desired", number("status.desiredNumberScheduled"), "integer"),
        _column("Current", number("status.currentNumberScheduled"), "integer"),
        _column("Ready", number("status.numberReady"), "integer"),
        _column("Up-to-date", number("status.updatedNumberScheduled"), "integer"),
        _column("Available", number("status.numberAvailable"), "integer"),
        _column("Node Selector", _selector("spec.template.spec.nodeSelector")),
        _AGE,
        *_TEMPLATE,
        _MATCH,
    ),
    "poddisruptionbudgets": (
        _NAME,
        _column("Min Available", text("spec.minAvailable", "N/A")),
        _column("Max Unavailable", text("spec.maxUnavailable", "N/A")),
        _column("Allowed Disruptions", number("status.disruptionsAllowed"), "integer"),
        _AGE,
    ),
    "priorityclasses": (
        _NAME,
        _column("Value", number("value"), "integer"),
        _column("Global-Default", lambda obj: bool(at(obj, "globalDefault", False)), "boolean"),
        _AGE,
        _column("PreemptionPolicy", text("preemptionPolicy")),
    ),
    "customresourcedefinitions": (_NAME, _column("Created At", text("metadata.creationTimestamp"))),
    "rolebindings": (_NAME, _column("Role", lambda obj: f"{at(obj, 'roleRef.kind')}/{at(obj, 'roleRef.name')}"), _AGE),
    "clusterrolebindings": (
        _NAME,
        _column("Role", lambda obj: f"{at(obj, 'roleRef.kind')}/{at(obj, 'roleRef.name')}"),
        _AGE,
    ),
    "roles": (_NAME, _column("Created At", text("metadata.creationTimestamp"))),
    "clusterroles": (_NAME, _column("Created At", text("metadata.creationTimestamp"))),
}
_PLAIN = (_NAME, _AGE)


def with_columns(kind: Kind) -> Kind:
    """The kind with its columns: name and age where nothing else is known."""
    return replace(kind, columns=_COLUMNS.get(kind.plural, _PLAIN))


def custom_columns(version: Obj) -> tuple[Column, ...]:
    """The columns of a custom resource, from the version's additionalPrinterColumns (simple paths only)."""
    listed = version.get("additionalPrinterColumns") or []
    if not listed:
        return _PLAIN
    columns = [_NAME]
    for one in listed:
        path = one["jsonPath"].lstrip(".").replace("[", ".").replace("]", "")
        cell = (lambda obj, path=path: age(at(obj, path))) if one.get("type") == "date" else text(path, "")
        columns.append(
            Column(one["name"], cell, one.get("type", "string"), "", one.get("priority", 0), one.get("description", ""))
        )
    return tuple(columns)
