"""What operators and other people do to a theatre on ordinary days, and how it is put right in the end."""

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


def put_right(theatre: Harness) -> None:
    """End every order that is still in force, as far as anybody answers; to be called again until all is well."""
    with suppress(*TROUBLE):
        if not theatre.shape.is_usual:
            theatre.apply()
    for name in NODES:
        with suppress(*TROUBLE):
            _cordon(theatre, name, on=False)
    with suppress(*TROUBLE):
        _remove_intruder(theatre)
    status = theatre.status()
    if status is None:
        return
    with suppress(*TROUBLE):
        if any(resource.id == GROUP and resource.disabled for resource in status.resources):
            _role(theatre, None)
        for node in status.nodes:
            if node.standby:
                _standby(theatre, node.name, on=False)
        if status.bans:
            _clear(theatre)


def orders_in_force(theatre: Harness) -> str:
    """The first order that has not been put right; empty: none. Raises ApiError."""
    if not theatre.shape.is_usual:
        return "an unusual cluster file is applied"
    nodes = theatre.request("get", "/api/v1/nodes").get("items") or []
    if cordoned := [str(node["metadata"]["name"]) for node in nodes if node["spec"].get("unschedulable")]:
        return f"{cordoned[0]} is cordoned"
    pods = theatre.request("get", PODS).get("items") or []
    if any(pod["metadata"]["name"] == _INTRUDER for pod in pods):
        return "the foreign pod is not gone"
    status = theatre.status()
    for node in () if status is None else status.nodes:
        if node.standby:
            return f"{node.name} is in standby"
    return ""


# Requests to the leader


def _role(theatre: Harness, role: str | None) -> None:
    theatre.ask("target-role", {"resource": GROUP, "role": role}, timeout_s=_ASK_S)


def _standby(theatre: Harness, node: str, *, on: bool) -> None:
    theatre.ask("standby", {"node": node, "on": on}, timeout_s=_ASK_S)


def _clear(theatre: Harness) -> None:
    theatre.ask("clear", {"resource": GROUP, "node": ""}, timeout_s=_ASK_S)


def _ban(theatre: Harness, node: str) -> None:
    body = {"resource": GROUP, "node": node, "role": "", "lifetime_s": None}
    theatre.ask("ban", body, timeout_s=_ASK_S)


def _cordon(theatre: Harness, node: str, *, on: bool) -> None:
    theatre.request("patch", f"/api/v1/nodes/{node}", {"spec": {"unschedulable": on or None}})


# The strikes


def _disable(theatre: Harness, _fault: Fault, _node: str) -> Undo:
    _role(theatre, "Stopped")
    return partial(_role, theatre, None)


def _one_standby(theatre: Harness, _fault: Fault, node: str) -> Undo:
    _standby(theatre, node, on=True)
    return partial(_standby, theatre, node, on=False)


def _all_standby(theatre: Harness, _fault: Fault, _node: str) -> Undo:
    for node in NODES:
        _standby(theatre, node, on=True)

    def end() -> None:
        for node in NODES:
            _standby(theatre, node, on=False)

    return end


def _ban_one(theatre: Harness, _fault: Fault, node: str) -> Undo:
    _ban(theatre, node)
    return partial(_clear, theatre)


def _ban_all(theatre: Harness, _fault: Fault, _node: str) -> Undo:
    for node in NODES:
        _ban(theatre, node)
    return partial(_clear, theatre)


def _clean_up(theatre: Harness, _fault: Fault, _node: str) -> None:
    theatre.ask("cleanup", {"resource": "", "node": ""}, timeout_s=_ASK_S)


def _cordon_one(theatre: Harness, _fault: Fault, node: str) -> Undo:
    _cordon(theatre, node, on=True)
    return partial(_cordon, theatre, node, on=False)


def _reshape(shape: Shape, theatre: Harness, _fault: Fault, _node: str) -> Undo:
    theatre.apply(replace(shape, monitor_s=theatre.shape.monitor_s))
    return theatre.apply


def _intrude(theatre: Harness, _fault: Fault, node: str) -> Undo:
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
    theatre.request("post", PODS, body)
    return partial(_remove_intruder, theatre)


def _remove_intruder(theatre: Harness) -> None:
    try:
        theatre.request("delete", f"{PODS}/{_INTRUDER}")
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
