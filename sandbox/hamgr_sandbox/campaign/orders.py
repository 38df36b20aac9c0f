"""What operators and other people do to a harness on ordinary days, and how it is put right in the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from hamgr.store.errors import StoreError
from hamgr_sandbox import processes
from hamgr_sandbox.campaign.harness import APPLICATION, CLAIM, PODS, Harness, Shape
from hamgr_sandbox.campaign.schedule import NODES, Fault, Kind
from hamgr_sandbox.client import ApiError
from hamgr_sandbox.errors import SandboxError

Undo = Callable[[], None]
TROUBLE = (SandboxError, ApiError, StoreError, OSError, processes.StillAlive)
"""What a strike may meet because another fault is in force: then it misses, and that is on record."""

GROUP = "store"
_INTRUDER = "intruder"
_ASK_S = 2.0  # a leader may be long in coming; an order that nobody takes is missed
_ENDS_S = 1


def put_right(harness: Harness) -> None:
    """End every order that is still in force, as far as anybody answers; to be called again until all is well."""
    with suppress(*TROUBLE):
        if not harness.shape.is_usual:
            harness.apply()
    for name in NODES:
        with suppress(*TROUBLE):
            _cordon(harness, name, on=False)
    with suppress(*TROUBLE):
        _remove_intruder(harness)
    status = harness.status()
    if status is None:
        return
    with suppress(*TROUBLE):
        if any(resource.id == GROUP and resource.disabled for resource in status.resources):
            _role(harness, None)
        for node in status.nodes:
            if node.standby:
                _standby(harness, node.name, on=False)
        if status.bans:
            _clear(harness)


def orders_in_force(harness: Harness) -> str:
    """The first order that has not been put right; empty: none. Raises ApiError."""
    if not harness.shape.is_usual:
        return "an unusual cluster file is applied"
    nodes = harness.request("get", "/api/v1/nodes").get("items") or []
    if cordoned := [str(node["metadata"]["name"]) for node in nodes if node["spec"].get("unschedulable")]:
        return f"{cordoned[0]} is cordoned"
    pods = harness.request("get", PODS).get("items") or []
    if any(pod["metadata"]["name"] == _INTRUDER for pod in pods):
        return "the foreign pod is not gone"
    status = harness.status()
    for node in () if status is None else status.nodes:
        if node.standby:
            return f"{node.name} is in standby"
    return ""


# Requests to the leader


def _role(harness: Harness, role: str | None) -> None:
    harness.ask("target-role", {"resource": GROUP, "role": role}, timeout_s=_ASK_S)


def _standby(harness: Harness, node: str, *, on: bool) -> None:
    harness.ask("standby", {"node": node, "on": on}, timeout_s=_ASK_S)


def _clear(harness: Harness) -> None:
    harness.ask("clear", {"resource": GROUP, "node": ""}, timeout_s=_ASK_S)


def _ban(harness: Harness, node: str) -> None:
    body = {"resource": GROUP, "node": node, "role": "", "lifetime_s": None}
    harness.ask("ban", body, timeout_s=_ASK_S)


def _cordon(harness: Harness, node: str, *, on: bool) -> None:
    harness.request("patch", f"/api/v1/nodes/{node}", {"spec": {"unschedulable": on or None}})


# The strikes


def _disable(harness: Harness, _fault: Fault, _node: str) -> Undo:
    _role(harness, "Stopped")
    return partial(_role, harness, None)


def _one_standby(harness: Harness, _fault: Fault, node: str) -> Undo:
    _standby(harness, node, on=True)
    return partial(_standby, harness, node, on=False)


def _all_standby(harness: Harness, _fault: Fault, _node: str) -> Undo:
    for node in NODES:
        _standby(harness, node, on=True)

    def end() -> None:
        for node in NODES:
            _standby(harness, node, on=False)

    return end


def _ban_one(harness: Harness, _fault: Fault, node: str) -> Undo:
    _ban(harness, node)
    return partial(_clear, harness)


def _ban_all(harness: Harness, _fault: Fault, _node: str) -> Undo:
    for node in NODES:
        _ban(harness, node)
    return partial(_clear, harness)


def _clean_up(harness: Harness, _fault: Fault, _node: str) -> None:
    harness.ask("cleanup", {"resource": "", "node": ""}, timeout_s=_ASK_S)


def _cordon_one(harness: Harness, _fault: Fault, node: str) -> Undo:
    _cordon(harness, node, on=True)
    return partial(_cordon, harness, node, on=False)


def _reshape(shape: Shape, harness: Harness, _fault: Fault, _node: str) -> Undo:
    harness.apply(replace(shape, monitor_s=harness.shape.monitor_s))
    return harness.apply


def _intrude(harness: Harness, _fault: Fault, node: str) -> Undo:
    """A pod that hamgr does not know, with the claim, as a colleague makes one for a backup. It writes nothing."""
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}
    container = {
        "name": "backup",
        "image": "busybox",
        "command": ["sleep", "3600"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "nodeName": node,
        "containers": [container],
        "volumes": [volume],
        "terminationGracePeriodSeconds": _ENDS_S,
    }
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _INTRUDER}, "spec": spec}
    harness.request("post", PODS, body)
    return partial(_remove_intruder, harness)


def _remove_intruder(harness: Harness) -> None:
    try:
        harness.request("delete", f"{PODS}/{_INTRUDER}")
    except ApiError as error:
        if error.code != 404:
            raise


ORDERS: dict[Kind, Callable[[Harness, Fault, str], Undo | None]] = {
    Kind.DISABLED: _disable,
    Kind.NODE_STANDBY: _one_standby,
    Kind.ALL_STANDBY: _all_standby,
    Kind.BANNED: _ban_one,
    Kind.BANNED_EVERYWHERE: _ban_all,
    Kind.CLEANED_UP: _clean_up,
    Kind.CORDONED: _cordon_one,
    Kind.REMOVED: partial(_reshape, Shape(without=True)),
    Kind.RENAMED: partial(_reshape, Shape(application=f"{APPLICATION}-renamed")),
    Kind.NAMESPACE_CHANGED: partial(_reshape, Shape(namespace="kube-public")),
    Kind.CLAIM_CHANGED: partial(_reshape, Shape(claim=f"{CLAIM}-missing")),
    Kind.FOREIGN_POD: _intrude,
}
