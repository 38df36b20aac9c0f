"""How each kind of fault is done to a harness, and how everything is undone."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from hamgr_sandbox import plane, processes
from hamgr_sandbox.campaign.harness import APPLICATION, PODS, Harness
from hamgr_sandbox.campaign.orders import ORDERS, TROUBLE, Undo
from hamgr_sandbox.campaign.schedule import ACTIVE, LEADER, NODES, STANDBY, Fault, Kind
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.network import Direction, Peer

_SLOW_S = 3.0
_MOVE_LIFETIME_S = 10.0


@dataclass(frozen=True, slots=True)
class Struck:
    """What became of a fault. `where` is the node that it hit; `missed` says why it could not be done; else empty."""

    fault: Fault
    where: str
    missed: str = ""

    def __str__(self) -> str:
        at = f" at {self.where}" if self.where and self.where != self.fault.where else ""
        return f"{self.fault}{at}{f' (missed: {self.missed})' if self.missed else ''}"


def place(harness: Harness, fault: Fault) -> str:
    """The node that a fault is about; the first where nobody is active, waits or leads. Empty when it is about none."""
    if fault.where == ACTIVE:
        pod = harness.active_pod()
        return str(pod["spec"]["nodeName"]) if pod else NODES[0]
    if fault.where == LEADER:
        return harness.leader() or NODES[0]
    if fault.where == STANDBY:
        return harness.standby() or NODES[0]
    return fault.where


def strike(harness: Harness, fault: Fault, node: str) -> Undo | None:
    """Do it. The answer undoes it; None: there is nothing to undo. Raises one of TROUBLE."""
    return _STRIKES[fault.kind](harness, fault, node)


def undo_all(harness: Harness) -> None:
    """Whatever is still in force ends. Raises one of TROUBLE only where the sandbox itself is broken."""
    sandbox = harness.sandbox
    sandbox.storage.clear()
    running = sandbox.control.services()
    for name in (
        *(each for each in running if each.startswith("etcd")),
        plane.API_SERVER,
        plane.CONTROLLERS,
        plane.ATTACHER,
    ):
        if name in running:
            processes.thaw(running[name])
    for name in ("etcd", plane.API_SERVER):
        sandbox.start(name)
    for node in NODES:
        host = sandbox.host(node)
        if host.process():
            host.thaw()
        host.heal()
        host.start()
        host.start_service(plane.NODE_AGENT)


# The strikes


def _pod_path(harness: Harness, node: str) -> str:
    """The application's pod on the node, whatever its state. Raises SandboxError where there is none."""
    for pod in harness.pods():
        if pod["spec"]["nodeName"] == node:
            return f"{PODS}/{pod['metadata']['name']}"
    raise SandboxError(f"the application has no pod on {node}")


def _delete_pod(harness: Harness, _fault: Fault, node: str) -> None:
    harness.request("delete", _pod_path(harness, node))


def _force_delete_pod(harness: Harness, _fault: Fault, node: str) -> None:
    harness.request("delete", _pod_path(harness, node), {"gracePeriodSeconds": 0})


def _kill_container(harness: Harness, _fault: Fault, node: str) -> None:
    harness.sandbox.kill_container(_pod_path(harness, node).rpartition("/")[2])


def _kill_hamgrd(harness: Harness, _fault: Fault, node: str) -> None:
    harness.sandbox.kill_hamgrd(node)


def _freeze_hamgrd(harness: Harness, _fault: Fault, node: str) -> Undo:
    process = processes.ProcessId.of(harness.sandbox.host(node).service(plane.HAMGRD))
    processes.freeze(process.pid)
    return partial(process.send, signal.SIGCONT)


def _kill_kubelet(harness: Harness, _fault: Fault, node: str) -> None:
    harness.sandbox.kill_kubelet(node)


def _keep_kubelet_down(harness: Harness, _fault: Fault, node: str) -> Undo:
    harness.sandbox.kill_kubelet(node, stay_down=True)
    return partial(harness.sandbox.host(node).start_service, plane.NODE_AGENT)


def _crash(harness: Harness, _fault: Fault, node: str) -> Undo:
    harness.sandbox.crash(node)
    return partial(harness.sandbox.start, node)


# A member lease outlives its node by seconds; whoever has pulled the plug need not wait for that.
_PLUG_PULLED = {"reason": "the campaign has pulled its plug", "anyway": True}


def _crash_and_confirm(harness: Harness, fault: Fault, node: str) -> Undo:
    undo = _crash(harness, fault, node)
    with suppress(*TROUBLE):  # a leader may be long in coming
        harness.ask("confirm", _PLUG_PULLED | {"node": node}, timeout_s=2.0)
    return undo


def _freeze_node(harness: Harness, _fault: Fault, node: str) -> Undo:
    harness.sandbox.freeze(node)
    return partial(harness.sandbox.thaw, node)


def _partition(harness: Harness, fault: Fault, node: str) -> Undo:
    harness.sandbox.partition(node, Peer(fault.peer), Direction(fault.direction))
    return partial(harness.sandbox.heal, node)


def _freeze_program(name: str, harness: Harness, _fault: Fault, _node: str) -> Undo:
    harness.sandbox.freeze(name)
    return partial(harness.sandbox.thaw, name)


def _kill_program(name: str, harness: Harness, _fault: Fault, _node: str) -> Undo:
    harness.sandbox.kill_program(name, stay_down=True)
    return partial(harness.sandbox.start, name)


def _kill_controllers(harness: Harness, _fault: Fault, _node: str) -> None:
    harness.sandbox.kill_program(plane.CONTROLLERS)


def _slow(operation: str, harness: Harness, _fault: Fault, _node: str) -> Undo:
    harness.sandbox.storage.slow(operation, _SLOW_S)
    return harness.sandbox.storage.clear


def _hang_detach(harness: Harness, _fault: Fault, _node: str) -> Undo:
    harness.sandbox.storage.hang("detach")
    return harness.sandbox.storage.clear


def _fence_node(harness: Harness, _fault: Fault, node: str) -> None:
    harness.ask("fence", {"target": node, "level": "", "dry_run": False}, timeout_s=2.0)


def _fence_pod(harness: Harness, _fault: Fault, node: str) -> None:
    harness.ask("fence", {"target": f"{APPLICATION}-{node}", "level": "", "dry_run": False}, timeout_s=2.0)


def _move(harness: Harness, _fault: Fault, node: str) -> None:
    """Away from where it runs, to the node after the one that was drawn."""
    there = NODES[(NODES.index(node) + 1) % len(NODES)]
    body = {"resource": "store", "node": there, "role": "", "lifetime_s": _MOVE_LIFETIME_S}
    harness.ask("move", body, timeout_s=2.0)


def _apply(harness: Harness, fault: Fault, _node: str) -> None:
    harness.apply(replace(harness.shape, monitor_s=2 + round(fault.at_s * 100) % 5))


def _release_nodes(harness: Harness, _fault: Fault, _node: str) -> None:
    for node in NODES:
        host = harness.sandbox.host(node)
        host.heal()
        if host.process():
            host.thaw()


_STRIKES: dict[Kind, Callable[[Harness, Fault, str], Undo | None]] = {
    Kind.POD_DELETED: _delete_pod,
    Kind.POD_FORCE_DELETED: _force_delete_pod,
    Kind.CONTAINER_KILLED: _kill_container,
    Kind.HAMGRD_KILLED: _kill_hamgrd,
    Kind.HAMGRD_FROZEN: _freeze_hamgrd,
    Kind.KUBELET_KILLED: _kill_kubelet,
    Kind.KUBELET_DOWN: _keep_kubelet_down,
    Kind.NODE_CRASHED: _crash,
    Kind.NODE_CONFIRMED_OFF: _crash_and_confirm,
    Kind.NODE_FROZEN: _freeze_node,
    Kind.PARTITIONED: _partition,
    Kind.ETCD_FROZEN: partial(_freeze_program, "etcd"),
    Kind.ETCD_KILLED: partial(_kill_program, "etcd"),
    Kind.API_FROZEN: partial(_freeze_program, plane.API_SERVER),
    Kind.API_KILLED: partial(_kill_program, plane.API_SERVER),
    Kind.CONTROLLERS_KILLED: _kill_controllers,
    Kind.CONTROLLERS_FROZEN: partial(_freeze_program, plane.CONTROLLERS),
    Kind.ATTACHER_FROZEN: partial(_freeze_program, plane.ATTACHER),
    Kind.DETACH_SLOW: partial(_slow, "detach"),
    Kind.DETACH_HANGS: _hang_detach,
    Kind.ATTACH_SLOW: partial(_slow, "attach"),
    Kind.FENCE_NODE: _fence_node,
    Kind.FENCE_POD: _fence_pod,
    Kind.MOVE: _move,
    Kind.CONFIG_APPLIED: _apply,
    Kind.NODES_RELEASED: _release_nodes,
    **ORDERS,
}
