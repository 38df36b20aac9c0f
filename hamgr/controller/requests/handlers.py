"""What people ask of the leader through the request queue: fences, clean-ups, moves, standby and the like.

Each request is checked against the configuration and either carried out (its effect is recorded like everything else)
or refused with a sentence and an exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import structlog

from hamgr.api import requests as api
from hamgr.api.exits import Exit
from hamgr.api.wire import to_value
from hamgr.cib import history
from hamgr.cib.model import Primitive
from hamgr.clusterfile.load import ConfigError, load_yaml
from hamgr.controller.disks.inquiry import look
from hamgr.controller.fencing.targets import PodTarget, find_pod
from hamgr.controller.leader import Leader
from hamgr.controller.nodes.membership import TEXTS, MembershipState
from hamgr.controller.tree import tree
from hamgr.executor.registry import Registry, UnknownAgent
from hamgr.fencer.plan import Plan
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import Confirmation
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.fencer.unfence import unfence_by_order
from hamgr.kube.cache import Cache
from hamgr.kube.errors import Forbidden, KubeError, Unauthorized, Unavailable
from hamgr.kube.gateway import Kube
from hamgr.kube.nodes import OUT_OF_SERVICE
from hamgr.store.requests import Request

_LOGGED = 200  # characters of a text that are worth a line of the log

log = structlog.get_logger(__name__)


def exit_code_of(error: KubeError) -> int:
    """What a command ends with when the API server has not done what was asked of it (docs/reference-cli.md)."""
    if isinstance(error, Unavailable):
        return Exit.UNAVAILABLE
    return Exit.NO_PERMISSION if isinstance(error, Unauthorized | Forbidden) else Exit.ERROR


class Refusal(Exception):
    """The leader will not do it; the message is for a person, the code is what the command exits with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


Reply = (
    api.Cleaned
    | api.Cleared
    | api.Constrained
    | api.DeviceTest
    | api.DiskFindings
    | api.Done
    | api.FenceBegun
    | api.FenceDeviceList
    | api.FencePlan
    | api.Removed
    | api.Topology
)


class Inquiry:
    """An answer that takes asking Kubernetes: to be called beside the control thread. Raises KubeError, Refusal."""

    def __init__(self, ask: Callable[[], Reply]) -> None:
        self._ask = ask

    def __call__(self) -> dict[str, Any]:
        return to_value(self._ask())


class RequestHandlers:
    """Carries out requests in a term. Used by the control thread alone."""

    def __init__(
        self,
        leader: Leader,
        kube: Kube | None,
        cache: Cache | None,
        now: Callable[[], float],
        doomed: Callable[[str, Collection[str] | None], str] = lambda _node, _only: "",
    ) -> None:
        """doomed: why a disk would not survive the fence of a node, of some resources there; as in `DiskCare`."""
        self._leader = leader
        self._kube = kube
        self._cache = cache
        self._now = now
        self._doomed = doomed
        self._handlers: Mapping[type[api.Request[Any]], Callable[[Any, str], Reply | Inquiry]] = {
            api.AskDevice: self._ask_device,
            api.Ban: self._ban,
            api.CheckDisks: self._check_disks,
            api.Cleanup: self._cleanup,
            api.Clear: self._clear,
            api.Confirm: self._confirm,
            api.Fence: self._fence,
            api.ListDevices: self._list_devices,
            api.ListLevels: self._list_levels,
            api.Maintenance: self._maintenance,
            api.Manage: self._manage,
            api.Move: self._move,
            api.PlanFence: self._plan_fence,
            api.Standby: self._standby,
            api.TargetRole: self._target_role,
            api.Unfence: self._unfence,
        }

    def carry_out(self, request: Request) -> dict[str, Any] | Inquiry:
        """Do what was asked and give the answer's body. Raises Refusal."""
        try:
            order = api.read_request(request.kind, request.version, request.body)
        except api.NotUnderstood as error:
            raise Refusal(str(error), error.code) from None
        if self._leader.configuration is None:
            raise Refusal("no cluster file was applied yet: begin with `hamgr apply -f FILE`", Exit.CONFIG)
        log.info("request", kind=request.kind, body=_shortened(to_value(order)), by=request.by)
        answer = self._handlers[type(order)](order, request.by)
        return answer if isinstance(answer, Inquiry) else to_value(answer)

    # --- fencing -----------------------------------------------------------------------------------------------------

    def _fence(self, order: api.Fence, by: str) -> api.FenceBegun:
        name = order.target
        pod = self._pod(name)
        levels = self._levels(name if pod is None else pod.node, order.level)
        where, only = (name, None) if pod is None else (pod.node, self._leader.companions(pod.resource))
        doomed = self._doomed(where, only)
        why = self._order(by, doomed, anyway=order.anyway)
        if pod is None:
            return api.FenceBegun(self._leader.fence_node(name, why, by, levels).id)
        return api.FenceBegun(self._leader.fence_pod(pod, why, by, levels).id)

    def _order(self, user: str, doomed: str, *, anyway: bool) -> Reason:
        """Why a fence begins that somebody asked for; an order against our own doubts, or against a disk that would go
        with its last pod, is recorded as one."""
        doubt = self._leader.fences.doubt()
        told = "; ".join(str(why) for why in (doubt, doomed) if why)
        if not told:
            return reason("operator", user=user)
        if anyway:
            return reason("operator-anyway", user=user, doubt=told)
        then = "`--anyway` fences all the same" if doomed else "Try again in a moment; `--anyway` fences all the same"
        raise Refusal(f"nothing was fenced: {told}. {then}", Exit.UNAVAILABLE)

    def _plan_fence(self, order: api.PlanFence, by: str) -> Inquiry:
        """What `fence` would do; asked of Kubernetes, so it is answered later."""
        name = order.target
        pod = self._pod(name)
        node = name if pod is None else pod.node
        levels = self._levels(node, order.level)
        target = self._leader.target(node) if pod is None else self._leader.pod_target(pod)
        fences = self._leader.fences
        return Inquiry(lambda: _as_answer(fences.plan(target, levels)))

    def _list_devices(self, order: api.ListDevices, by: str) -> api.FenceDeviceList:
        """The devices with the names of their parameters: values may be secrets."""
        fences = self._leader.fences
        devices = tuple(
            api.DeviceDescription(
                name=device.name,
                agent=device.agent,
                params=tuple(sorted(device.params)),
                params_from=device.params_from,
                port_map=dict(device.port_map),
                timeout_s=device.timeout_s,
                nodes=tuple(n for n in self._nodes() if _uses(fences.config.levels_for(n), device.name)),
            )
            for device in fences.config.devices.values()
        )
        return api.FenceDeviceList(devices, tuple(fences.device_troubles()))

    def _list_levels(self, order: api.ListLevels, by: str) -> api.Topology:
        """Each node's levels in the order in which they are tried."""
        nodes = []
        for name in self._nodes():
            promise = self._leader.observations.promise(name)
            levels = tuple(_level_answer(level) for level in self._leader.fences.config.levels_for(name))
            nodes.append(api.NodeLevels(name, levels, promise.self_fence if promise else None))
        return api.Topology(tuple(nodes))

    def _ask_device(self, order: api.AskDevice, by: str) -> Inquiry:
        """Whether a device works, and what it says of the nodes; nothing is switched."""
        fences, name = self._leader.fences, order.device
        if name not in fences.config.devices:
            known = f"devices are {_list(fences.config.devices)}" if fences.config.devices else "none is configured"
            raise Refusal(f"there is no fence device {name!r}: {known}", Exit.NO_OBJECT)
        nodes = [node for node in self._nodes() if _uses(fences.config.levels_for(node), name)]
        return Inquiry(lambda: api.DeviceTest(**fences.device_test(name, nodes)))

    def _unfence(self, order: api.Unfence, by: str) -> Inquiry:
        node, kube = self._node(order.node), self._kube
        last = self._leader.fences.last_of(node)
        if kube is None or last is None:
            raise Refusal(f"node {node} was not fenced, as far as the history goes", Exit.NO_OBJECT)
        self._leader.fences.forgive(last)
        self._leader.touch(f"{by} let {node} take part again")
        return Inquiry(lambda: api.Removed((f"taint {OUT_OF_SERVICE}",) if unfence_by_order(kube, node) else ()))

    def _pod(self, name: str) -> PodTarget | None:
        """The pod of that name; None when it is a node's name. Raises Refusal when it is neither."""
        if name in self._nodes():
            return None
        cluster = "" if self._leader.cluster is None else self._leader.cluster.cluster
        pod = find_pod(self._cache, name, self._leader.homes, cluster)
        if pod is None:
            raise Refusal(
                f"there is neither a node nor a pod of hamgr's called {name!r}: nodes are {_list(self._nodes())}; "
                "pods are called RESOURCE-NODE, see `hamgr status`",
                Exit.NO_OBJECT,
            )
        return pod

    def _levels(self, name: str, level: str) -> Any:
        if not level:
            return ()
        try:
            return self._leader.fences.levels(name, level)
        except ValueError:
            raise Refusal(f"there is no fencing level {level!r}; there are {_list(Level)}", Exit.USAGE) from None

    def _confirm(self, order: api.Confirm, by: str) -> api.FenceBegun:
        """Take an operator's word that a node is off; not while the node itself says otherwise."""
        node, why = self._node(order.node), reason("operator", user=by)
        if alive := self._sign_of_life(node):
            if not order.anyway:
                text = f"nothing was confirmed: {alive}. Is it the node that you have looked at? If it is, wait half a "
                raise Refusal(f"{text}minute for that to be over, or add `--anyway`", Exit.UNAVAILABLE)
            why = reason("operator-anyway", user=by, doubt=alive)
        elif doomed := self._doomed(node, None):
            if not order.anyway:
                text = f"nothing was confirmed: {doomed}. `--anyway` has the pods there removed all the same"
                raise Refusal(text, Exit.UNAVAILABLE)
            why = reason("operator-anyway", user=by, doubt=doomed)
        word = Confirmation(by, order.reason, self._now())
        return api.FenceBegun(self._leader.confirm(node, why, word).id)

    def _sign_of_life(self, node: str) -> str:
        """What shows that a node is not off, as a sentence; empty: nothing does."""
        membership = (
            MembershipState.MEMBER
            if node in self._leader.observations.members
            else self._leader.cluster_state.membership(node)
        )
        if membership in (MembershipState.MEMBER, MembershipState.KUBELET):
            return TEXTS[membership].format(node=node)
        if self._leader.node_monitor.still_renews(node):
            return f"the kubelet of {node} has renewed its Lease since the node is {membership}"
        return ""

    # --- a file that is not applied yet ------------------------------------------------------------------------------

    def _check_disks(self, order: api.CheckDisks, by: str) -> Inquiry:
        """What a cluster file's templates and claims come to here; nothing is changed."""
        kube = self._kube
        if kube is None:
            raise Refusal("the leader has no Kubernetes to ask", Exit.UNAVAILABLE)

        def read_and_look() -> api.DiskFindings:  # reading a large file takes longer than the control loop may wait
            try:
                cib = load_yaml(order.text, "the file", Registry().specs()).to_live_cib()
            except (ConfigError, UnknownAgent) as error:
                raise Refusal(f"the leader cannot use the file: {error}", Exit.CONFIG) from None
            return look(kube, cib)

        return Inquiry(read_and_look)

    # --- history -----------------------------------------------------------------------------------------------------

    def _cleanup(self, order: api.Cleanup, by: str) -> api.Cleaned:
        """As `crm_resource --cleanup`: forget failures, and what is recorded of resources that had any."""
        wanted = {r.id for r in self._primitives_of(order.resource)} if order.resource else None
        nodes = [self._node(order.node)] if order.node else self._nodes()
        cleaned = []
        for node in nodes:
            state = self._leader.cluster_state.state(node)
            failed = {h.id for h in state.resources if any(op.id.endswith("_last_failure_0") for op in h.ops)}
            for resource in sorted(failed | history.fail_counts(state).keys()):
                if wanted is None or resource.split(":")[0] in wanted:
                    self._leader.forget(node, resource)
                    cleaned.append(f"{resource} on {node}")
        self._leader.fences.note_change(self._now())
        self._leader.try_again()
        self._leader.touch(f"{by} cleaned up")
        return api.Cleaned(tuple(cleaned))

    # --- overrides ---------------------------------------------------------------------------------------------------

    def _move(self, order: api.Move, by: str) -> api.Constrained:
        resource, node = self._resource(order.resource), self._staying_node(order.node)
        self._override(order, by, self._leader.cluster_state.overrides.prefer(resource, node, *self._role_until(order)))
        return api.Constrained(f"cli-prefer-{resource}")

    def _ban(self, order: api.Ban, by: str) -> api.Constrained:
        resource, node = self._resource(order.resource), self._node(order.node)
        self._override(order, by, self._leader.cluster_state.overrides.ban(resource, node, *self._role_until(order)))
        return api.Constrained(f"cli-ban-{resource}-on-{node}")

    def _clear(self, order: api.Clear, by: str) -> api.Cleared:
        resource = self._resource(order.resource)
        node = self._node(order.node) if order.node else ""
        before = self._leader.cluster_state.overrides
        after = before.clear(resource, node)
        self._override(order, by, after)
        return api.Cleared(tuple(sorted(before.locations.keys() - after.locations.keys())))

    def _standby(self, order: api.Standby, by: str) -> api.Done:
        value = "on" if order.on else "off"
        self._override(
            order,
            by,
            self._leader.cluster_state.overrides.node_attribute(self._staying_node(order.node), "standby", value),
        )
        return api.Done()

    def _maintenance(self, order: api.Maintenance, by: str) -> api.Done:
        value = "true" if order.on else "false"
        overrides = self._leader.cluster_state.overrides
        if order.node:
            self._override(order, by, overrides.node_attribute(self._node(order.node), "maintenance", value))
        else:
            self._override(order, by, overrides.option("maintenance-mode", value))
        return api.Done()

    def _target_role(self, order: api.TargetRole, by: str) -> api.Done:
        role = order.role
        if role not in (None, "Stopped", "Started", "Unpromoted", "Promoted"):
            raise Refusal(f"{role!r} is no role; roles are Stopped, Started, Unpromoted and Promoted", Exit.USAGE)
        resource = self._resource(order.resource)
        if role is not None and any(r.agent.standard == "stonith" for r in self._primitives_of(resource)):
            raise Refusal(
                f"{resource} does not run anywhere, it stands for what fences nodes, and they would be fenced whatever "
                "its role: to be without a device take it out of its level in the cluster file, to hold fencing back "
                "for a while use `hamgr maintenance on`, to be without fencing set fencing-enabled: false there",
                Exit.ERROR,
            )
        self._override(order, by, self._leader.cluster_state.overrides.resource_meta(resource, "target-role", role))
        return api.Done()

    def _manage(self, order: api.Manage, by: str) -> api.Done:
        """Off: is-managed is false whatever the cluster file says. On: as the file says."""
        value = None if order.on else "false"
        resource = self._resource(order.resource)
        self._override(order, by, self._leader.cluster_state.overrides.resource_meta(resource, "is-managed", value))
        return api.Done()

    def _override(self, order: api.Request[Any], by: str, overrides: Any) -> None:
        self._leader.cluster_state.set_overrides(overrides)
        self._leader.touch(f"{by} asked for {order.kind}")

    # --- checking ----------------------------------------------------------------------------------------------------

    def _nodes(self) -> list[str]:
        return list(self._leader.nodes)

    def _node(self, node: str) -> str:
        if node not in self._nodes():
            raise Refusal(f"there is no node {node!r} in the cluster: nodes are {_list(self._nodes())}", Exit.NO_HOST)
        return node

    def _staying_node(self, node: str) -> str:
        """A node that something may be sent to."""
        if self._node(node) in self._leader.leaving:
            text = f"node {node} is not in the cluster file any more: it is only kept until nothing runs there"
            raise Refusal(text, Exit.NO_HOST)
        return node

    def _resource(self, name: str) -> str:
        """A resource's id; a group's or clone's member stands for the whole, as it cannot go anywhere alone."""
        assert self._leader.configuration is not None
        for top in self._leader.configuration.resources:
            if name in {resource.id for resource in tree(top)}:
                return name
        raise Refusal(f"there is no resource {name!r}: resources are {_list(self._ids())}", Exit.NO_OBJECT)

    def _primitives_of(self, name: str) -> list[Primitive]:
        self._resource(name)
        assert self._leader.configuration is not None
        found = [r for top in self._leader.configuration.resources for r in tree(top) if r.id == name]
        return [r for r in tree(found[0]) if isinstance(r, Primitive)]

    def _ids(self) -> list[str]:
        assert self._leader.configuration is not None
        return [resource.id for top in self._leader.configuration.resources for resource in tree(top)]

    def _role_until(self, order: api.Move | api.Ban) -> tuple[str, float | None]:
        if order.lifetime_s is None:
            return order.role, None
        if not order.lifetime_s > 0:
            raise Refusal(f"the lifetime {order.lifetime_s!r} is no number of seconds above 0", Exit.USAGE)
        return order.role, self._now() + order.lifetime_s


def _shortened(body: dict[str, Any]) -> dict[str, Any]:
    """A request's body for the log: without the most of a whole file in it."""
    return {
        name: f"{value[:_LOGGED]}..." if isinstance(value, str) and len(value) > _LOGGED else value
        for name, value in body.items()
    }


def _uses(levels: Iterable[LevelConfig], device: str) -> bool:
    return any(device in level.devices for level in levels)


def _level_answer(level: LevelConfig) -> api.TopologyLevel:
    return api.TopologyLevel(
        level=str(level.level),
        devices=tuple(level.devices),
        timeout_s=level.timeout_s,
        attempts=level.attempts,
        delay_s=level.delay.base_s,
        random_delay_s=level.delay.random_s,
        action=level.action,
    )


def _as_answer(plan: Plan) -> api.FencePlan:
    levels = tuple(
        api.PlannedLevel(str(one.level), tuple(one.steps), one.proves, "" if one.unfit is None else str(one.unfit))
        for one in plan.levels
    )
    return api.FencePlan(plan.node, levels)


def _list(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
