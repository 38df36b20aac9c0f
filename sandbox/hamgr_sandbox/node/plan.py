"""What to do next for one pod: a pure function of its specification and of what its containers are at.

``worker`` observes, asks here, acts, and asks again. The rules are the kubelet's: init containers one after another,
then all containers; a container that ended starts again as the restart policy and its back-off allow; one that fails
its liveness or startup probe is stopped first; a pod that is being deleted starts nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hamgr_sandbox.node.backoff import Backoff, remaining_s

Json = dict[str, Any]


class Phase(Enum):
    """Where one container is."""

    CREATED = "created"
    """It has not run yet."""
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ContainerView:
    """What the plan needs to know of a container. Times are seconds of one monotonic clock.

    ``failed_probe`` names the probe (liveness, startup) whose verdict asks for a restart, "" when none does;
    ``not_before`` is when to try again what could not be started (no image, a missing Secret).
    """

    phase: Phase = Phase.CREATED
    exit_code: int = 0
    finished_at: float = 0.0
    started: bool = False
    stopping: bool = False
    failed_probe: str = ""
    backoff: Backoff | None = None
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod as the plan sees it. ``prepared``: its volumes are mounted and its address is given."""

    spec: Json
    containers: Mapping[str, ContainerView]
    terminating: bool
    prepared: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """``start`` and ``stop`` are to be carried out now; ``backing_off`` maps names to remaining seconds.

    ``stop`` maps a container's name to the probe it failed, or to "" when the pod is to end. ``finished`` means that
    no container runs and none will run again. ``initialized`` is the pod's condition of that name.
    """

    start: tuple[str, ...] = ()
    stop: Mapping[str, str] = field(default_factory=dict)
    backing_off: Mapping[str, float] = field(default_factory=dict)
    finished: bool = False
    initialized: bool = False

    @property
    def wake_in_s(self) -> float | None:
        """When to ask again if nothing happens before; None when only an event can change anything."""
        return min(self.backing_off.values(), default=None)


def plan(pod: PodView, now: float) -> Plan:
    """What to do for ``pod`` at ``now`` (seconds, monotonic)."""
    init, main = _init_containers(pod), _main_containers(pod)
    initialized = _next_init(pod, init) is None and not _init_failed(pod, init)
    if pod.terminating:
        return Plan(stop=_to_end(pod), finished=not _running(pod), initialized=initialized)
    stop = {
        name: view.failed_probe
        for name, view in pod.containers.items()
        if view.phase is Phase.RUNNING and view.failed_probe and not view.stopping
    }
    if is_finished(pod):
        return Plan(stop=_to_end(pod), finished=not _running(pod), initialized=initialized)
    if not pod.prepared:
        return Plan(stop=stop, initialized=initialized)
    wanted = _wanted(pod, init, main, initialized)
    waits = {name: _wait_s(pod.containers.get(name), now) for name in wanted}
    return Plan(
        start=tuple(name for name, wait in waits.items() if wait <= 0),
        stop=stop,
        backing_off={name: wait for name, wait in waits.items() if wait > 0},
        initialized=initialized,
    )


def is_finished(pod: PodView) -> bool:
    """Whether the pod has reached its end by itself: its containers have exited and its policy restarts none."""
    if _init_failed(pod, _init_containers(pod)):
        return True
    return all(
        _view(pod, each["name"]).phase is Phase.EXITED and not _restarts(pod, _view(pod, each["name"]))
        for each in _main_containers(pod)
    )


def is_sidecar(container: Json) -> bool:
    """An init container that goes on running beside the others."""
    return container.get("restartPolicy") == "Always"


def _wanted(pod: PodView, init: list[Json], main: list[Json], initialized: bool) -> list[str]:
    """Names of the containers that should run and do not."""
    names = [each["name"] for each in init if is_sidecar(each) and _view(pod, each["name"]).phase is Phase.EXITED]
    if not initialized:
        following = _next_init(pod, init)
        return [*names, following] if following and following not in names else names
    names += [
        each["name"]
        for each in main
        if _view(pod, each["name"]).phase is Phase.CREATED
        or (_view(pod, each["name"]).phase is Phase.EXITED and _restarts(pod, _view(pod, each["name"])))
    ]
    return names


def _next_init(pod: PodView, init: list[Json]) -> str | None:
    """The init container whose turn it is (it may be running), or None when all have done their part.

    Once the containers proper have been started, init containers are never run again.
    """
    if any(_view(pod, each["name"]).phase is not Phase.CREATED for each in _main_containers(pod)):
        return None
    for each in init:
        view = _view(pod, each["name"])
        done = view.started if is_sidecar(each) else view.phase is Phase.EXITED and view.exit_code == 0
        if not done:
            return str(each["name"]) if view.phase is not Phase.RUNNING else ""
    return None


def _init_failed(pod: PodView, init: list[Json]) -> bool:
    if pod.spec.get("restartPolicy", "Always") != "Never":
        return False
    views = [_view(pod, each["name"]) for each in init if not is_sidecar(each)]
    return any(view.phase is Phase.EXITED and view.exit_code != 0 for view in views)


def _restarts(pod: PodView, view: ContainerView) -> bool:
    policy = pod.spec.get("restartPolicy", "Always")
    return policy == "Always" or (policy == "OnFailure" and view.exit_code != 0)


def _running(pod: PodView) -> list[str]:
    return [name for name, view in pod.containers.items() if view.phase is Phase.RUNNING]


def _to_end(pod: PodView) -> dict[str, str]:
    """What to stop to end the pod: sidecars only when nothing else runs any more."""
    sidecars = {each["name"] for each in _init_containers(pod) if is_sidecar(each)}
    running = _running(pod)
    first = [name for name in running if name not in sidecars] or running
    return {name: "" for name in first if not pod.containers[name].stopping}


def _wait_s(view: ContainerView | None, now: float) -> float:
    if view is None:
        return 0.0
    crashed = remaining_s(view.backoff, view.finished_at, now) if view.phase is Phase.EXITED else 0.0
    return max(crashed, view.not_before - now)


def _view(pod: PodView, name: str) -> ContainerView:
    return pod.containers.get(name) or ContainerView()


def _init_containers(pod: PodView) -> list[Json]:
    return pod.spec.get("initContainers") or []


def _main_containers(pod: PodView) -> list[Json]:
    return pod.spec.get("containers") or []
