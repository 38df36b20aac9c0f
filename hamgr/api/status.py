"""The status document: what the leader publishes for people, kept where leader and command line both can see it.

The leader writes it under the etcd key ``status`` whenever something in it changes; ``hamgr status`` reads that one
key and renders it. It is a summary for people and monitoring: nothing decides anything from it. Times of day are
RFC 3339 strings in UTC, durations are seconds unless the name says milliseconds.

The reader is lenient: keys that it does not know are skipped and missing ones take their defaults, so that command
line and leader need not be of the same version. A document of a newer schema, in which a key means something else, is
refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

SCHEMA = 1
OLD_S = 60.0
"""A document that was updated longer ago than this is old: its leader writes it anew every ten seconds."""


def _many(item: type) -> Any:
    """A tuple of nested documents; the item's type travels in the field's metadata for `from_json`."""
    return field(default=(), metadata={"item": item})


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node as the cluster sees it; the flags have crm_mon's meaning."""

    name: str
    online: bool = False
    unclean: bool = False
    standby: bool = False
    standby_onfail: bool = False
    maintenance: bool = False
    pending: bool = False
    shutdown: bool = False
    hamgrd: bool = False  # a hamgrd on that node holds its member lease
    version: str = ""  # of that hamgrd
    ready: bool | None = None  # Kubernetes' Ready condition; None: unknown
    health: str = ""  # green, yellow, red; empty: no health attributes
    resources_running: int = 0
    self_fence_s: float | None = None  # seconds after losing etcd by which the node has stopped its own instances
    fenced_at: str = ""  # when it was fenced, if it is not back
    fenced_by: str = ""  # by which level
    away: str = ""  # why it does not count as back, and what to do
    held: str = ""  # why its fencing has to wait
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One line (and, for collections, its children) of the list of resources."""

    id: str
    kind: str = "primitive"  # primitive, group, clone, bundle
    agent: str = ""  # as printed: "hamgr:volume", "ocf:heartbeat:IPaddr2", "stonith:fencing"
    role: str = "Stopped"  # Stopped, Started, Unpromoted, Promoted
    nodes: tuple[str, ...] = ()  # where it is active, in the order found
    pending: str = ""  # Starting, Stopping, Promoting, Demoting, Monitoring, Migrating; empty: nothing
    failed: bool = False
    blocked: bool = False
    managed: bool = True
    maintenance: bool = False
    disabled: bool = False  # target-role keeps it from its natural role
    orphaned: bool = False
    promotable: bool = False  # clones only
    unique: bool = False  # clones only
    note: str = ""  # what a person should know besides: "parked on n2"
    children: tuple[ResourceStatus, ...] = ()  # a group's members, a clone's instances


@dataclass(frozen=True, slots=True)
class FailedAction:
    """A recorded operation that did not go as expected."""

    resource: str
    task: str
    node: str
    interval_ms: int = 0
    rc: int = 1
    rc_text: str = ""  # "not running"
    status: str = "complete"  # complete, Timed Out, Error, ...
    reason: str = ""  # the agent's exit reason
    call_id: int = 0
    at: str = ""
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class FailCount:
    """Failures counted against one resource on one node (crm_mon's migration summary)."""

    resource: str
    node: str
    count: str  # a number or INFINITY
    threshold: str = ""  # migration-threshold; empty: none
    last_failure: str = ""


@dataclass(frozen=True, slots=True)
class FenceStep:
    """One step of a fence, in the order in which it happened."""

    step: str
    at_s: float = 0.0  # seconds since the fence was asked for
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FenceStatus:
    """One fence: pending, or from the bounded history."""

    id: str
    target: str  # node, or pod as NAMESPACE/NAME
    outcome: str = "pending"  # pending, succeeded, failed, superseded
    action: str = "reboot"  # off, reboot, on; "release" for a fence of volumes alone
    level: str = ""  # volume, node, watchdog, manual, stop
    reason: str = ""
    requested_by: str = ""
    executed_by: str = ""
    token: int = 0
    started_at: str = ""
    took_s: float | None = None
    proof: str = ""
    left: str = ""  # what was not released in time after the proof; the leader goes on with it
    error: str = ""
    tried: int = 0  # attempts that have failed
    steps: tuple[FenceStep, ...] = _many(FenceStep)

    def to_value(self) -> dict[str, Any]:
        """As JSON's values: what the leader answers to a request for a fence."""
        return as_dict(self)

    @classmethod
    def from_value(cls, value: object) -> FenceStatus:
        """Read `to_value`'s answer. Raises ValueError when it is no such document."""
        return _decode(cls, value)


@dataclass(frozen=True, slots=True)
class TransitionStatus:
    """The transition that the leader is walking, if any."""

    number: int
    total: int = 0
    done: int = 0
    running: tuple[str, ...] = ()  # action keys in flight: "mariadb_start_0 n2"
    started_at: str = ""
    reason: str = ""  # what set it off


@dataclass(frozen=True, slots=True)
class Ban:
    """A location constraint that keeps a resource off a node (score -INFINITY)."""

    constraint: str
    resource: str
    node: str
    promoted_only: bool = False
    why: str = ""  # where it is hamgr's own: what it has found in Kubernetes


@dataclass(frozen=True, slots=True)
class TicketStatus:
    """One cluster ticket."""

    id: str
    granted: bool = False
    standby: bool = False
    last_granted: str = ""


WARNING, CRITICAL = "warning", "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should look at: why the cluster is not as it should be, and what to do about it."""

    code: str  # stable, for programs: "resource-down", "node-unclean", ...
    text: str  # a sentence for people
    severity: str = WARNING  # warning, critical
    resource: str = ""
    node: str = ""


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Each finding once, what is critical first, else in the order in which they were found."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: finding.severity != CRITICAL))


def verdict(findings: Iterable[Finding]) -> int:
    """How the cluster is, as monitoring systems count: 0 nothing was found, 1 a warning, 2 something critical."""
    return max((2 if finding.severity == CRITICAL else 1 for finding in findings), default=0)


VERDICTS = ("OK", "WARN", "CRIT")  # in words


@dataclass(frozen=True, slots=True)
class StatusDoc:
    """The whole of what `hamgr status` shows."""

    cluster: str
    schema: int = SCHEMA
    leader: str = ""
    version: str = ""  # of the leader's hamgr
    token: int = 0
    quorum: bool = False
    members: int = 0  # hamgrds that hold a member lease
    updated_at: str = ""
    changed_at: str = ""  # of the configuration
    changed_by: str = ""
    nodes: tuple[NodeStatus, ...] = _many(NodeStatus)
    resources: tuple[ResourceStatus, ...] = _many(ResourceStatus)
    instances: int = 0  # resource instances configured
    disabled: int = 0
    blocked: int = 0
    maintenance: bool = False  # maintenance-mode of the whole cluster
    stonith_enabled: bool = True
    no_quorum_policy: str = "stop"
    failed: tuple[FailedAction, ...] = _many(FailedAction)
    failcounts: tuple[FailCount, ...] = _many(FailCount)
    fencing: tuple[FenceStatus, ...] = _many(FenceStatus)  # newest first
    bans: tuple[Ban, ...] = _many(Ban)
    tickets: tuple[TicketStatus, ...] = _many(TicketStatus)
    transition: TransitionStatus | None = field(default=None, metadata={"item": TransitionStatus})
    findings: tuple[Finding, ...] = _many(Finding)  # critical ones first
    notices: tuple[Finding, ...] = _many(Finding)  # worth knowing, and no trouble: they change no verdict
    warnings: tuple[str, ...] = ()  # the findings' sentences, for readers who know no findings

    @property
    def found(self) -> tuple[Finding, ...]:
        """The findings; of a leader that wrote none yet, its warnings."""
        return self.findings or tuple(Finding("", text) for text in self.warnings)

    def with_findings(self, findings: Iterable[Finding]) -> StatusDoc:
        """The document with these findings in place of its own."""
        found = by_severity(findings)
        return replace(self, findings=found, warnings=tuple(dict.fromkeys(finding.text for finding in found)))

    def to_json(self) -> str:
        """One line of JSON; what is at its default is left out, so the document stays small."""
        return json.dumps(as_dict(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> StatusDoc:
        """Read `to_json`'s answer. Raises ValueError when it is no such document."""
        return cls.from_value(json.loads(text))

    def to_value(self) -> dict[str, Any]:
        """What `to_json` writes, before it becomes text: for a store that keeps JSON values."""
        return as_dict(self)

    @classmethod
    def from_value(cls, value: object) -> StatusDoc:
        """Read `to_value`'s answer. Raises ValueError when it is no such document, or one of a newer schema."""
        schema = value.get("schema", SCHEMA) if isinstance(value, Mapping) else SCHEMA
        if isinstance(schema, int) and schema > SCHEMA:
            raise ValueError(
                f"it is of schema {schema}, and this hamgr knows {SCHEMA}: use the `hamgr` of the leader's version"
            )
        return _decode(cls, value)


def failing(fences: Iterable[FenceStatus]) -> list[FenceStatus]:
    """Failed fences that no fence of the same target has put right since. fences: newest first, as the answer is."""
    proved: set[str] = set()
    found = []
    for fence in fences:
        if fence.outcome == "succeeded":
            proved.add(fence.target)
        elif fence.outcome == "failed" and fence.target not in proved:
            found.append(fence)
    return found


def as_dict(document: Any) -> dict[str, Any]:
    """The document as plain JSON values. Fields at their default are left out, required ones never."""
    out: dict[str, Any] = {}
    for item in fields(document):
        value = getattr(document, item.name)
        required = item.default is item.default_factory  # both MISSING
        if required or value != _default(item):
            out[item.name] = _plain(value)
    return out


def complete(document: Any) -> Any:
    """The document as plain JSON values with every field present: the contract of `hamgr status --output json`."""
    if is_dataclass(document):
        return {item.name: complete(getattr(document, item.name)) for item in fields(document)}
    if isinstance(document, tuple):
        return [complete(value) for value in document]
    return dict(document) if isinstance(document, Mapping) else document


def _default(item: Any) -> Any:
    if item.default_factory is not item.default and callable(item.default_factory):
        return item.default_factory()
    return item.default


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return as_dict(value)
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return dict(value) if isinstance(value, Mapping) else value


def _decode(cls: type[T], raw: object) -> T:
    if not isinstance(raw, dict):
        raise ValueError(f"the status document has {raw!r} where a {cls.__name__} belongs")  # noqa: TRY004
    known: dict[str, Any] = {}
    for item in fields(cls):  # type: ignore[arg-type]
        if item.name not in raw:
            continue
        value = raw[item.name]
        nested = ResourceStatus if (cls is ResourceStatus and item.name == "children") else item.metadata.get("item")
        if isinstance(value, list):
            known[item.name] = tuple(_decode(nested, entry) if nested else entry for entry in value)
        elif nested is not None and isinstance(value, Mapping):
            known[item.name] = _decode(nested, value)
        else:
            known[item.name] = value
    try:
        return cls(**known)
    except TypeError as error:
        raise ValueError(f"the status document's {cls.__name__} is incomplete: {error}") from None
