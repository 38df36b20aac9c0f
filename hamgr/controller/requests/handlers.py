"""What people ask of the leader through the request queue: fences, clean-ups, moves, standby and the like.

Each request is checked against the configuration and either carried out (its effect is recorded like everything else)
or refused with a sentence and an exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import structlog

from hamgr.api.exits import Exit
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


class Inquiry:
    """An answer that takes asking Kubernetes: to be called beside the control thread. Raises KubeError."""

    def __init__(self, ask: Callable[[], dict[str, Any]]) -> None:
        self._ask = ask

    def __call__(self) -> dict[str, Any]:
        return self._ask()


Answer = dict[str, Any] | Inquiry


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

    def carry_out(self, request: Request) -> Answer:
        """Do what was asked and give the answer's body. Raises Refusal."""
        kinds: dict[str, Callable[[Request, Mapping[str, Any]], Answer]] = {
            "fence": self._fence,
            "fence-plan": self._fence_plan,
            "check-disks": self._check_disks,
            "fence-devices": self._fence_devices,
            "fence-topology": self._fence_topology,
            "fence-test": self._fence_test,
            "unfence": self._unfence,
            "confirm": self._confirm,
            "cleanup": self._cleanup,
            "move": self._move,
            "ban": self._ban,
            "clear": self._clear,
            "standby": self._standby,
            "maintenance": self._maintenance,
            "target-role": self._target_role,
            "managed": self._managed,
        }
        if request.kind not in kinds:
            raise Refusal(
                f"the leader does not know the request {request.kind!r}: is it of another version?", Exit.USAGE
            )
        if self._leader.configuration is None:
            raise Refusal("no cluster file was applied yet: begin with `hamgr apply -f FILE`", Exit.CONFIG)
        body = request.body if isinstance(request.body, Mapping) else {}
        log.info("request", kind=request.kind, body=dict(body), by=request.by)
        return kinds[request.kind](request, body)

    # --- fencing -----------------------------------------------------------------------------------------------------

    def _fence(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        name = _text(body, "target")
        pod = self._pod(name)
        levels = self._levels(name if pod is None else pod.node, _text(body, "level"))
        where, only = (name, None) if pod is None else (pod.node, self._leader.companions(pod.resource))
        doomed = self._doomed(where, only)
        why = self._order(request.by, doomed, anyway=bool(body.get("anyway")))
        if pod is None:
            return {"fence": self._leader.fence_node(name, why, request.by, levels).id}
        return {"fence": self._leader.fence_pod(pod, why, request.by, levels).id}

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

    def _fence_plan(self, _request: Request, body: Mapping[str, Any]) -> Answer:
        """What `fence` would do; asked of Kubernetes, so it is answered later."""
        name = _text(body, "target")
        pod = self._pod(name)
        node = name if pod is None else pod.node
        levels = self._levels(node, _text(body, "level"))
        target = self._leader.target(node) if pod is None else self._leader.pod_target(pod)
        fences = self._leader.fences
        return Inquiry(lambda: _as_answer(fences.plan(target, levels)))

    def _fence_devices(self, _request: Request, _body: Mapping[str, Any]) -> dict[str, Any]:
        """The devices with the names of their parameters: values may be secrets."""
        fences = self._leader.fences
        devices = [
            {
                "name": device.name,
                "agent": device.agent,
                "params": sorted(device.params),
                "params_from": device.params_from,
                "port_map": dict(device.port_map),
                "timeout_s": device.timeout_s,
                "nodes": [node for node in self._nodes() if _uses(fences.config.levels_for(node), device.name)],
            }
            for device in fences.config.devices.values()
        ]
        return {"devices": devices, "troubles": list(fences.device_troubles())}

    def _fence_topology(self, _request: Request, _body: Mapping[str, Any]) -> dict[str, Any]:
        """Each node's levels in the order in which they are tried."""
        nodes = []
        for name in self._nodes():
            promise = self._leader.observations.promise(name)
            levels = [_level_answer(level) for level in self._leader.fences.config.levels_for(name)]
            nodes.append({"node": name, "levels": levels, "promise_s": promise.self_fence if promise else None})
        return {"nodes": nodes}

    def _fence_test(self, _request: Request, body: Mapping[str, Any]) -> Answer:
        """Whether a device works, and what it says of the nodes; nothing is switched."""
        fences, name = self._leader.fences, _text(body, "device")
        if name not in fences.config.devices:
            known = f"devices are {_list(fences.config.devices)}" if fences.config.devices else "none is configured"
            raise Refusal(f"there is no fence device {name!r}: {known}", Exit.NO_OBJECT)
        nodes = [node for node in self._nodes() if _uses(fences.config.levels_for(node), name)]
        return Inquiry(lambda: fences.device_test(name, nodes))

    def _unfence(self, _request: Request, body: Mapping[str, Any]) -> Answer:
        node, kube = self._node(body), self._kube
        last = self._leader.fences.last_of(node)
        if kube is None or last is None:
            raise Refusal(f"node {node} was not fenced, as far as the history goes", Exit.NO_OBJECT)
        self._leader.fences.forgive(last)
        self._leader.touch(f"{_request.by} let {node} take part again")
        return Inquiry(lambda: {"removed": [f"taint {OUT_OF_SERVICE}"] if unfence_by_order(kube, node) else []})

    def _pod(self, name: str) -> PodTarget | None:
        """The pod of that name; None when it is a node's name. Raises Refusal when it is neither."""
        if name in self._nodes():
            return None
        pod = find_pod(self._cache, name, self._leader.homes)
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

    def _confirm(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take an operator's word that a node is off; not while the node itself says otherwise."""
        node, why = self._node(body), reason("operator", user=request.by)
        if alive := self._sign_of_life(node):
            if not body.get("anyway"):
                text = f"nothing was confirmed: {alive}. Is it the node that you have looked at? If it is, wait half a "
                raise Refusal(f"{text}minute for that to be over, or add `--anyway`", Exit.UNAVAILABLE)
            why = reason("operator-anyway", user=request.by, doubt=alive)
        elif doomed := self._doomed(node, None):
            if not body.get("anyway"):
                text = f"nothing was confirmed: {doomed}. `--anyway` has the pods there removed all the same"
                raise Refusal(text, Exit.UNAVAILABLE)
            why = reason("operator-anyway", user=request.by, doubt=doomed)
        word = Confirmation(request.by, _text(body, "reason"), self._now())
        return {"fence": self._leader.confirm(node, why, word).id}

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

    def _check_disks(self, _request: Request, body: Mapping[str, Any]) -> Answer:
        """What a cluster file's templates and claims come to here; nothing is changed."""
        kube = self._kube
        if kube is None:
            raise Refusal("the leader has no Kubernetes to ask", Exit.UNAVAILABLE)
        try:
            cib = load_yaml(_text(body, "text"), "the file", Registry().specs()).to_live_cib()
        except (ConfigError, UnknownAgent) as error:
            raise Refusal(f"the leader cannot use the file: {error}", Exit.CONFIG) from None
        return Inquiry(lambda: look(kube, cib))

    # --- history -----------------------------------------------------------------------------------------------------

    def _cleanup(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        """As `crm_resource --cleanup`: forget failures, and what is recorded of resources that had any."""
        wanted = {r.id for r in self._primitives_of(_text(body, "resource"))} if body.get("resource") else None
        nodes = [self._node(body)] if body.get("node") else self._nodes()
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
        self._leader.touch(f"{request.by} cleaned up")
        return {"cleaned": cleaned}

    # --- overrides ---------------------------------------------------------------------------------------------------

    def _move(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        resource, node = self._resource(body), self._staying_node(body)
        self._override(request, self._leader.cluster_state.overrides.prefer(resource, node, *self._role_until(body)))
        return {"constraint": f"cli-prefer-{resource}"}

    def _ban(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        resource, node = self._resource(body), self._node(body)
        self._override(request, self._leader.cluster_state.overrides.ban(resource, node, *self._role_until(body)))
        return {"constraint": f"cli-ban-{resource}-on-{node}"}

    def _clear(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        resource = self._resource(body)
        node = self._node(body) if body.get("node") else ""
        before = self._leader.cluster_state.overrides
        after = before.clear(resource, node)
        self._override(request, after)
        return {"cleared": sorted(before.locations.keys() - after.locations.keys())}

    def _standby(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        value = "on" if body.get("on") else "off"
        self._override(
            request, self._leader.cluster_state.overrides.node_attribute(self._staying_node(body), "standby", value)
        )
        return {}

    def _maintenance(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        value = "true" if body.get("on") else "false"
        overrides = self._leader.cluster_state.overrides
        if body.get("node"):
            self._override(request, overrides.node_attribute(self._node(body), "maintenance", value))
        else:
            self._override(request, overrides.option("maintenance-mode", value))
        return {}

    def _target_role(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        role = body.get("role")
        if role not in (None, "Stopped", "Started", "Unpromoted", "Promoted"):
            raise Refusal(f"{role!r} is no role; roles are Stopped, Started, Unpromoted and Promoted", Exit.USAGE)
        resource = self._resource(body)
        if role is not None and any(r.agent.standard == "stonith" for r in self._primitives_of(resource)):
            raise Refusal(
                f"{resource} does not run anywhere, it stands for what fences nodes, and they would be fenced whatever "
                "its role: to be without a device take it out of its level in the cluster file, to hold fencing back "
                "for a while use `hamgr maintenance on`, to be without fencing set stonith-enabled: false there",
                Exit.ERROR,
            )
        self._override(request, self._leader.cluster_state.overrides.resource_meta(resource, "target-role", role))
        return {}

    def _managed(self, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        """Off: is-managed is false whatever the cluster file says. On: as the file says."""
        value = None if body.get("on") else "false"
        resource = self._resource(body)
        self._override(request, self._leader.cluster_state.overrides.resource_meta(resource, "is-managed", value))
        return {}

    def _override(self, request: Request, overrides: Any) -> None:
        self._leader.cluster_state.set_overrides(overrides)
        self._leader.touch(f"{request.by} asked for {request.kind}")

    # --- checking ----------------------------------------------------------------------------------------------------

    def _nodes(self) -> list[str]:
        return list(self._leader.nodes)

    def _node(self, body: Mapping[str, Any]) -> str:
        node = _text(body, "node")
        if node not in self._nodes():
            raise Refusal(f"there is no node {node!r} in the cluster: nodes are {_list(self._nodes())}", Exit.NO_HOST)
        return node

    def _staying_node(self, body: Mapping[str, Any]) -> str:
        """A node that something may be sent to."""
        node = self._node(body)
        if node in self._leader.leaving:
            text = f"node {node} is not in the cluster file any more: it is only kept until nothing runs there"
            raise Refusal(text, Exit.NO_HOST)
        return node

    def _resource(self, body: Mapping[str, Any]) -> str:
        """A resource's id; a group's or clone's member stands for the whole, as it cannot go anywhere alone."""
        name = _text(body, "resource")
        assert self._leader.configuration is not None
        for top in self._leader.configuration.resources:
            if name in {resource.id for resource in tree(top)}:
                return name
        raise Refusal(f"there is no resource {name!r}: resources are {_list(self._ids())}", Exit.NO_OBJECT)

    def _primitives_of(self, name: str) -> list[Primitive]:
        self._resource({"resource": name})
        assert self._leader.configuration is not None
        found = [r for top in self._leader.configuration.resources for r in tree(top) if r.id == name]
        return [r for r in tree(found[0]) if isinstance(r, Primitive)]

    def _ids(self) -> list[str]:
        assert self._leader.configuration is not None
        return [resource.id for top in self._leader.configuration.resources for resource in tree(top)]

    def _role_until(self, body: Mapping[str, Any]) -> tuple[str, float | None]:
        lifetime = body.get("lifetime_s")
        if lifetime is None:
            return _text(body, "role"), None
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not lifetime > 0:
            raise Refusal(f"the lifetime {lifetime!r} is no number of seconds above 0", Exit.USAGE)
        return _text(body, "role"), self._now() + lifetime


def _uses(levels: Iterable[LevelConfig], device: str) -> bool:
    return any(device in level.devices for level in levels)


def _level_answer(level: LevelConfig) -> dict[str, Any]:
    return {
        "level": str(level.level),
        "devices": list(level.devices),
        "timeout_s": level.timeout_s,
        "attempts": level.attempts,
        "delay_s": level.delay.base_s,
        "random_delay_s": level.delay.random_s,
        "action": level.action,
    }


def _as_answer(plan: Plan) -> dict[str, Any]:
    levels = [
        {
            "level": str(level.level),
            "steps": list(level.steps),
            "proves": level.proves,
            "unfit": "" if level.unfit is None else str(level.unfit),
        }
        for level in plan.levels
    ]
    return {"node": plan.node, "levels": levels}


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _list(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
