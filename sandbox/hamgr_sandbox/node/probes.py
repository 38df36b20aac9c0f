"""Probes of containers: what a probe asks for, and what a series of answers means, as values.

The judgement follows the kubelet's prober: an answer counts when it has come as often in a row as its threshold says;
until then the last verdict stands. Before any answer, a container counts as alive, not ready, and (with a startup
probe) not started.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
KINDS = ("startup", "liveness", "readiness")


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of one container. ``handler`` is the part of the API object that says how: exec, tcpSocket, httpGet."""

    kind: str
    handler: Json
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3

    @property
    def title(self) -> str:
        return self.kind.capitalize()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one probing brought: ``output`` is for people, as in the event of a failure."""

    ok: bool
    output: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """Equal answers in a row, and the verdict so far; None when there is none yet."""

    ok: bool = False
    length: int = 0
    verdict: bool | None = None


def probes_of(container: Json) -> tuple[Probe, ...]:
    """The probes of a container of a pod's spec, defaults filled in."""
    found = []
    for kind in KINDS:
        spec = container.get(f"{kind}Probe")
        if spec:
            found.append(
                Probe(
                    kind,
                    {name: spec[name] for name in ("exec", "tcpSocket", "httpGet", "grpc") if name in spec},
                    float(spec.get("initialDelaySeconds") or 0),
                    float(spec.get("periodSeconds") or 10),
                    float(spec.get("timeoutSeconds") or 1),
                    int(spec.get("successThreshold") or 1),
                    int(spec.get("failureThreshold") or 3),
                )
            )
    return tuple(found)


def judged(probe: Probe, series: Series, answer: Answer) -> Series:
    """The series with one more answer."""
    length = series.length + 1 if series.length and series.ok == answer.ok else 1
    needed = probe.success_threshold if answer.ok else probe.failure_threshold
    return Series(answer.ok, length, answer.ok if length >= needed else series.verdict)


def is_due(probe: Probe, *, running_for_s: float, started: bool) -> bool:
    """Whether to probe at this tick. A startup probe is over once it has succeeded; the others wait for it."""
    if running_for_s < probe.initial_delay_s:
        return False
    return not started if probe.kind == "startup" else started


def next_tick(tick: float, period_s: float, now: float) -> float:
    """When to probe next: at ``tick`` while it is still to come, otherwise the first time after ``now`` in rhythm."""
    if tick > now:
        return tick
    return tick + (int((now - tick) / period_s) + 1) * period_s


def port_number(port: int | str, container: Json) -> int:
    """A probe's port, which may be the name of one of the container's. Raises ValueError for an unknown name."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for each in container.get("ports") or []:
        if each.get("name") == port:
            return int(each["containerPort"])
    raise ValueError(f"couldn't find port: {port!r} in container {container['name']!r}")
