"""What a resource agent is: OCF's actions as methods that get a context and answer with an exit code and a sentence.

Agents are ordinary Python, found by the entry point group ``hamgr.agents`` (see `registry`). An action may block; it
should look at `ActionContext.cancelled` and the deadline while it waits, because the executor cannot kill a thread: it
only stops listening. Each action must be safe to repeat and safe when it comes late.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from hamgr.cib.booleans import FALSE, TRUE, is_true
from hamgr.cib.durations import parse_ms
from hamgr.executor.metadata import Metadata, Parameter
from hamgr.executor.ocf import Ocf

if TYPE_CHECKING:
    from hamgr.kube.cache import Cache
    from hamgr.kube.gateway import Kube
    from hamgr.kube.volumes import Volume


@dataclass(frozen=True, slots=True)
class ActionResult:
    """An action's outcome: the exit code, for people one sentence, for the cluster node attributes to set.

    ``heard``: during the action something that runs on the node has itself answered over the network, whatever it said;
    so the node was alive then. Never to be set for what came by way of a Service, a cache or the API server.
    ``waiting``: of a start that has begun nothing, since something outside is missing: it is no failure, and is tried
    again once the action ``may-start`` (`Agent.may_start`) says that it may be.
    """

    rc: Ocf
    reason: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    heard: bool = False
    waiting: bool = False


PARKED_MAY_STAY = "parked_may_stay"  # in a stop's meta: names of pods, separated by spaces


class ActionTimeout(Exception):
    """Raised by an action whose deadline has passed; the message says what it was still waiting for."""


def _never() -> bool:
    return False


def _unknown_mounts(node: str, volume: Volume) -> bool | None:
    del node, volume
    return None


def _unknown_pods(node: str, pod_uid: str) -> bool | None:
    del node, pod_uid
    return None


@dataclass(frozen=True, slots=True)
class ActionContext:
    """All that an action may use.

    ``resource`` is the configured id, ``instance`` adds a clone's number ("db:1"); ``deadline`` is on ``clock``
    (monotonic seconds). ``unmounted(node, volume)`` is what the hamgrd on that node says: True, the volume is not
    mounted there; False, it is; None, nobody can tell. ``departed(node, pod_uid)`` likewise: True, no process and no
    mount of that pod is left there. ``options`` are the cluster's settings for agents.
    """

    resource: str
    node: str
    params: Mapping[str, str] = field(default_factory=dict)
    instance: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    interval_ms: int = 0
    deadline: float = float("inf")
    kube: Kube | None = None
    cache: Cache | None = None
    cancelled: Callable[[], bool] = _never
    cluster: str = "hamgr"
    log: Any = field(default_factory=lambda: logging.getLogger("hamgr.agents"))
    options: Mapping[str, str] = field(default_factory=dict)
    unmounted: Callable[[str, Volume], bool | None] = _unknown_mounts
    departed: Callable[[str, str], bool | None] = _unknown_pods
    clock: Callable[[], float] = time.monotonic

    @property
    def parked_may_stay(self) -> frozenset[str] | None:
        """Of a stop: the names of the parked pods that may have what it releases, all others have to go before that.
        None: whoever asks for this stop does not say."""
        names = self.meta.get(PARKED_MAY_STAY)
        return None if names is None else frozenset(names.split())

    def left_s(self) -> float:
        """Seconds to the deadline, never negative."""
        return max(self.deadline - self.clock(), 0.0)

    def over(self) -> bool:
        """Whether the action should come to an end: cancelled, or out of time."""
        return self.cancelled() or self.left_s() <= 0

    def text(self, name: str) -> str:
        """A parameter as text, empty when not given."""
        return self.params.get(name, "")

    def flag(self, name: str) -> bool:
        """A boolean parameter; missing and malformed ones are False (`Agent.check` complains about the latter)."""
        return is_true(self.text(name).strip())

    def seconds(self, name: str) -> float:
        """A duration parameter in seconds, 0 when not given."""
        return parse_ms(self.text(name)) / 1000

    def number(self, name: str) -> int | None:
        """An integer parameter, None when not given."""
        return int(self.text(name)) if self.text(name) else None


class Agent:
    """Base of all agents. An action that is not overridden answers ERR_UNIMPLEMENTED.

    One object serves all resources of its kind, from several threads.
    """

    metadata: ClassVar[Metadata]

    def start(self, ctx: ActionContext) -> ActionResult:
        """Bring the resource up on the node; OK only once it serves. Already up: OK."""
        return self._unimplemented("start", ctx)

    def may_start(self, ctx: ActionContext) -> ActionResult:
        """Of a start that has said that it waits: OK when that can be tried again. Quick, and without any effect."""
        del ctx
        return ActionResult(Ocf.OK)

    def stop(self, ctx: ActionContext) -> ActionResult:
        """Bring it down; OK only with proof that it is down. Already down: OK."""
        return self._unimplemented("stop", ctx)

    def monitor(self, ctx: ActionContext) -> ActionResult:
        """OK, RUNNING_PROMOTED, NOT_RUNNING, or an error."""
        return self._unimplemented("monitor", ctx)

    def promote(self, ctx: ActionContext) -> ActionResult:
        """Make the running instance the promoted one."""
        return self._unimplemented("promote", ctx)

    def demote(self, ctx: ActionContext) -> ActionResult:
        """Make the promoted instance an unpromoted one."""
        return self._unimplemented("demote", ctx)

    def notify(self, ctx: ActionContext) -> ActionResult:
        """Hear what happens to other instances of the clone."""
        return self._unimplemented("notify", ctx)

    def migrate_to(self, ctx: ActionContext) -> ActionResult:
        """The source's half of a live migration."""
        return self._unimplemented("migrate_to", ctx)

    def migrate_from(self, ctx: ActionContext) -> ActionResult:
        """The target's half of a live migration."""
        return self._unimplemented("migrate_from", ctx)

    def reload_agent(self, ctx: ActionContext) -> ActionResult:
        """Take over changed reloadable parameters without a restart."""
        return self._unimplemented("reload-agent", ctx)

    def validate_all(self, ctx: ActionContext) -> ActionResult:
        """Whether the parameters can work: ERR_CONFIGURED when they never can, ERR_INSTALLED when not here and now."""
        problems = self.check(ctx.params)
        return ActionResult(Ocf.ERR_CONFIGURED, "; ".join(problems)) if problems else ActionResult(Ocf.OK)

    def check(self, params: Mapping[str, str]) -> list[str]:
        """What is wrong with the parameters as such, a sentence each, without asking anybody."""
        given = {name: value for name, value in params.items() if not name.startswith("CRM_meta_")}
        problems = [
            f"parameter {name!r} is unknown to agent {self.metadata.name}"
            for name in given
            if not self.metadata.has(name)
        ]
        for parameter in self.metadata.parameters:
            if parameter.required and not given.get(parameter.name):
                problems.append(f"parameter {parameter.name!r} is required")
            elif parameter.name in given and (wrong := _malformed(parameter, given[parameter.name])):
                problems.append(f"parameter {parameter.name!r} is {given[parameter.name]!r}, {wrong}")
        for group in self.metadata.exactly_one_of:
            found = [name for name in group if given.get(name)]
            if len(found) != 1:
                problems.append(f"exactly one of {', '.join(group)} must be given, not {' and '.join(found) or 'none'}")
        return problems

    def to_record(self, params: Mapping[str, str]) -> dict[str, str]:
        """Of the parameters of a start those that are recorded with it: all that is needed to find, and to stop, this
        very instance later on. References to Secrets belong to them, what is secret itself never does.
        """
        private = {parameter.name for parameter in self.metadata.parameters if parameter.private}
        return {name: value for name, value in without_passwords(params).items() if name not in private}

    def why_lost(self, params: Mapping[str, str]) -> str:
        """Why a stop with these parameters would not know its object; empty: it knows it."""
        missing = [p.name for p in self.metadata.parameters if p.required and not params.get(p.name)]
        return f"{' and '.join(missing)} is not known" if missing else ""

    def other_actions(self) -> Mapping[str, Callable[[ActionContext], ActionResult]]:
        """Actions beyond OCF's that hamgr itself asks for, by name."""
        return {}

    def perform(self, action: str, ctx: ActionContext) -> ActionResult:
        """Run an action by its OCF name, the defaults of parameters filled in."""
        methods: dict[str, Callable[[ActionContext], ActionResult]] = {
            "start": self.start,
            "stop": self.stop,
            "monitor": self.monitor,
            "promote": self.promote,
            "demote": self.demote,
            "notify": self.notify,
            "migrate_to": self.migrate_to,
            "migrate_from": self.migrate_from,
            "reload-agent": self.reload_agent,
            "validate-all": self.validate_all,
            "may-start": self.may_start,
            "meta-data": lambda _: ActionResult(Ocf.OK, self.metadata.to_xml()),
        }
        method = methods.get(action) or self.other_actions().get(action)
        if method is None:
            return self._unimplemented(action, ctx)
        if action in ("stop", "demote") and (lost := self.why_lost(ctx.params)):
            return ActionResult(
                Ocf.ERR_ARGS,
                f"nothing says what to {action}: {lost}, and nothing is on record of the start of {ctx.resource} on "
                f"{ctx.node}; put the resource back into the cluster file as it was, or {action} it by hand and "
                f"`hamgr cleanup {ctx.resource}`",
            )
        return method(replace(ctx, params=self.metadata.with_defaults(ctx.params)))

    def _unimplemented(self, action: str, ctx: ActionContext) -> ActionResult:
        return ActionResult(
            Ocf.ERR_UNIMPLEMENTED, f"agent {self.metadata.name} of resource {ctx.resource} has no action {action!r}"
        )


def without_passwords(params: Mapping[str, str]) -> dict[str, str]:
    """The parameters without those that are private in every agent, whether or not it says so, as in Pacemaker."""
    return {name: value for name, value in params.items() if name not in ("passwd", "password")}


def _malformed(parameter: Parameter, value: str) -> str:
    if parameter.type == "integer" and not value.strip().lstrip("+-").isdigit():
        return "which is not a whole number"
    if parameter.type == "boolean" and value.strip().lower() not in TRUE | FALSE:
        return "which is neither true nor false"
    if parameter.type == "duration" and parse_ms(value, -1) < 0:
        return "which is no duration such as 10s, 5min or 500ms"
    if parameter.type == "select" and value not in parameter.choices:
        return f"which is none of {', '.join(parameter.choices)}"
    return ""
