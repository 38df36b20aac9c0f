"""What the leader publishes for people: the status document, made anew whenever something in it has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from hamgr import __version__
from hamgr.api.status import (
    CRITICAL,
    WARNING,
    Ban,
    FailCount,
    FailedAction,
    Finding,
    NodeStatus,
    ResourceStatus,
    StatusDoc,
    TransitionStatus,
    as_dict,
)
from hamgr.cib import history
from hamgr.cib.model import Cib, Location, OpRecord
from hamgr.cib.scores import INFINITY
from hamgr.controller.leader import Leader
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.placement.bars import Bars, bar_id
from hamgr.controller.placement.node_constraints import SHARED, WAITS, is_ours
from hamgr.controller.standby.parking import is_warm
from hamgr.controller.status.health import Insight, Patience, assess, needing_reasons
from hamgr.controller.status.outlook import Outlook, Submit, at_once
from hamgr.executor.ocf import ExecStatus, Ocf
from hamgr.fencer.status_view import as_status
from hamgr.fencer.topology import Level
from hamgr.kube import nodes as kube_nodes
from hamgr.kube.cache import Cache
from hamgr.kube.objects import LABEL_RESOURCE, POD, Obj, home_of
from hamgr.kube.pods import is_parked, node_of
from hamgr.scheduler.state.constants import ROLE_NAMES, STOPPED, Variant
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.unpack.status import unpack
from hamgr.store.errors import Deposed, StoreError
from hamgr.store.leadership import Leadership
from hamgr.store.values import encode

log = structlog.get_logger(__name__)

STATUS = "status"
_AT_MOST_EVERY_S = 0.3
_AT_LEAST_EVERY_S = 3.0
_HEARTBEAT_S = 10.0  # six writes a minute; cib.status says how old a document may be
_MAX_TEXT = 2000  # characters of one text
_MAX_BYTES = 1_000_000  # etcd takes 1.5 MB in one request
_FENCES_SHOWN = 20
_BRINGS = ("start", "promote", "migrate_to", "migrate_from")  # tasks after which something serves
_DOUBTS = ("etcd-stale", "api-stale", "disk-doomed")  # what holds back an order, too
_NOT_HEARD_OF = "nothing was heard of it since: bring it back when it suits you"


class Reporter:
    """Publishes the status of a term. Used by the control thread alone."""

    def __init__(
        self,
        leader: Leader,
        leadership: Leadership,
        cache: Cache | None,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        submit: Submit = at_once,
    ) -> None:
        """clock: monotonic seconds; now: seconds since the epoch. submit: has the scheduler asked, elsewhere."""
        self._leader = leader
        self._leadership = leadership
        self._cache = cache
        self._clock = clock
        self._now = now
        self._outlook = Outlook(leader, clock=clock, now=now, submit=submit)
        self._patience = Patience()
        self.unwarmed: Callable[[], Mapping[str, str]] = dict  # as `Parking.unwarmed` has it
        self.about_disks: Callable[[], Iterable[Finding]] = tuple  # as `DiskCare.findings` has it
        self.notices: Callable[[], Iterable[Finding]] = tuple  # as `DiskCare.notices` has it
        self._published: StatusDoc | None = None
        self._at = self._published_at = float("-inf")
        self._news = True
        self._applied: Mapping[str, Any] = {}
        self.trouble = ""
        self.unusable: list[str] = []  # sentences about keys in etcd that count as absent

    def applied(self, document: Mapping[str, Any]) -> None:
        """Remember who applied the configuration in force, and when."""
        self._applied = document

    def publish(self, *, news: bool) -> None:
        """Write the document if it says something new. Raises Deposed.

        news: whether anything has happened in this round; without, it is looked at again from time to time only.
        """
        self._outlook.advance()
        self._news = self._news or news
        since = self._clock() - self._at
        if since < (_AT_MOST_EVERY_S if self._news else _AT_LEAST_EVERY_S):
            return
        self._at, self._news = self._clock(), False
        document = self.document()
        is_fresh = self._clock() - self._published_at < _HEARTBEAT_S
        if is_fresh and replace(document, updated_at=self._published_text()) == self._published:
            return
        try:
            self._leadership.fenced_txn(puts={STATUS: bounded(as_dict(document))})
        except Deposed:
            raise
        except StoreError as error:  # it gets old, which is seen; leading goes on
            log.warning("status_not_published", error=str(error))
            return
        self._published, self._published_at = document, self._clock()

    def _published_text(self) -> str:
        return "" if self._published is None else self._published.updated_at

    def document(self) -> StatusDoc:
        """The whole status now."""
        leader, token = self._leader, self._leadership.token
        base = StatusDoc(
            cluster=leader.cluster.cluster if leader.cluster else "",
            leader=self._leadership.node,
            version=__version__,
            token=0 if token is None else token.revision,
            quorum=True,
            members=len(leader.observations.members),
            updated_at=_text(self._now()),
            changed_at=str(self._applied.get("applied_at", "")),
            changed_by=str(self._applied.get("applied_by", "")),
            fencing=tuple(as_status(record) for record in leader.fences.records[:_FENCES_SHOWN]),
            transition=self._transition(),
        )
        if leader.configuration is None:
            return base.with_findings(self._noticed())
        cib = leader.cib()
        work = unpack(cib, int(self._now()))
        nodes = tuple(self._node(node) for node in work.nodes)
        resources = tuple(self._resource(rsc) for rsc in work.resources if not _hidden_orphan(rsc))
        leaves = [leaf for rsc in work.resources for leaf in rsc.leaves()]
        document = replace(
            base,
            nodes=nodes,
            resources=resources,
            instances=len(leaves),
            disabled=sum(_disabled(leaf) for leaf in leaves),
            blocked=sum(leaf.blocked for leaf in leaves),
            maintenance=work.options.maintenance,
            stonith_enabled=work.options.fencing,
            no_quorum_policy=work.options.quorum_policy,
            failed=_failed_actions(cib),
            failcounts=_fail_counts(cib, work),
            notices=tuple(self.notices()),
            bans=_bans(cib, leader.cluster_state.bars),
        )
        found = self._patience.settle(assess(document, self._insight(document)), self._clock())
        return document.with_findings((*found, *self._noticed()))

    def _insight(self, document: StatusDoc) -> Insight:
        run = self._leader.transition_run
        moving = () if run is None else (a.resource for a in run.actions.values() if a.task in _BRINGS)
        down = [leaf.id for resource in document.resources for leaf in needing_reasons(resource)]
        return Insight(
            accounts=self._outlook.accounts(down),
            under_way=frozenset(moving),
            deciding=not self._leader.idle and run is None,
            stranded=self._outlook.stranded(),
            unwarmed=self.unwarmed(),
        )

    def _node(self, node: Node) -> NodeStatus:
        member = self._leader.observations.members.get(node.name)
        obj = self._leader.observations.node_object(node.name)
        fenced_at, fenced_by, away = self._fenced(node.name)
        return NodeStatus(
            name=node.name,
            online=node.online,
            unclean=node.unclean,
            standby=node.standby,
            standby_onfail=node.standby_onfail,
            maintenance=node.maintenance,
            pending=node.pending,
            shutdown=node.shutdown,
            hamgrd=member is not None,
            version="" if member is None else member.version,
            ready=None if obj is None else kube_nodes.ready(obj),
            resources_running=len(node.running),
            self_fence_s=None if member is None else member.self_fence,
            held=str(self._leader.held.get(node.name, "")),
            fenced_at=fenced_at,
            fenced_by=fenced_by,
            away=away,
            attributes={k: v for k, v in node.attributes.items() if not k.startswith(("#", "fail-count", "last-fail"))},
        )

    def _fenced(self, node: str) -> tuple[str, str, str]:
        """Of a node that was fenced and is not back: since when, by which level, and why it is not; else empty."""
        if self._leader.cluster_state.membership(node) is not MembershipState.FENCED:
            return "", "", ""
        last = self._leader.fences.last_of(node)
        at, level = ("", "") if last is None else (_text(last.ended_at), str(last.level.level))
        lives = self._leader.node_monitor.shows_life(node)
        return at, level, self._leader.fences.why_away(node) if lives else _NOT_HEARD_OF

    def _resource(self, rsc: Resource) -> ResourceStatus:
        kinds = {Variant.GROUP: "group", Variant.CLONE: "clone", Variant.BUNDLE: "bundle"}
        return ResourceStatus(
            id=rsc.id,
            kind=kinds.get(rsc.variant, "primitive"),
            agent=_agent(rsc),
            role=ROLE_NAMES[rsc.role] if rsc.running_on else ROLE_NAMES[STOPPED],
            nodes=tuple(node.name for node in rsc.running_on),
            pending=self._pending(rsc),
            failed=rsc.failed,
            blocked=rsc.blocked,
            managed=rsc.managed,
            maintenance=rsc.maintenance,
            disabled=_disabled(rsc),
            orphaned=rsc.orphan,
            promotable=rsc.settings.promotable,
            unique=rsc.settings.unique and rsc.variant == Variant.CLONE,
            note=self._note(rsc),
            children=tuple(self._resource(child) for child in rsc.children),
        )

    def _pending(self, rsc: Resource) -> str:
        """What is being done to a resource right now, in crm_mon's words."""
        words = {"start": "Starting", "stop": "Stopping", "promote": "Promoting", "demote": "Demoting"}
        words |= {"migrate_to": "Migrating", "migrate_from": "Migrating"}
        run = self._leader.transition_run
        for action_id in () if run is None else sorted(run.graph.in_flight):
            action = run.actions[action_id] if run else None
            if action is not None and action.resource == rsc.id and action.task in words:
                return words[action.task]
        return ""

    def _is_parked(self, pod: Obj) -> bool:
        return is_parked(pod) and home_of(pod) in self._leader.cluster_state.homes

    def _note(self, rsc: Resource) -> str:
        if self._cache is None or rsc.children:
            return ""
        cache = self._cache
        parked = [pod for pod in cache.list(POD, labels={LABEL_RESOURCE: rsc.id}) if self._is_parked(pod)]
        warm = [node_of(pod) for pod in parked if is_warm(pod, cache)]
        cold = [node_of(pod) for pod in parked if not is_warm(pod, cache)]
        said = [f"parked on {', '.join(warm)}"] if warm else []
        said += [f"being parked on {', '.join(cold)}"] if cold else []
        return "; ".join(said)

    def _transition(self) -> TransitionStatus | None:
        run = self._leader.transition_run
        if run is None:
            return None
        flying = [run.actions[i] for i in sorted(run.graph.in_flight)]
        return TransitionStatus(
            number=run.number,
            total=len(run.actions),
            done=run.graph.confirmed,
            running=tuple(f"{action.key} {action.node}".strip() for action in flying),
            reason=run.why,
        )

    def _noticed(self) -> Iterator[Finding]:
        """Findings that the rest of the document does not show."""
        if self._leader.configuration is None:
            yield Finding("no-configuration", "no cluster file was applied yet: begin with `hamgr apply -f FILE`")
        if self.trouble:
            text = f"the applied cluster file cannot be used: {self.trouble}"
            yield Finding("configuration-unusable", text)
        for astray in self._leader.auditor.findings:
            severity = CRITICAL if astray.critical else WARNING
            yield Finding(str(astray.kind), astray.text, severity, astray.resource, astray.node)
        for text in self.unusable:
            yield Finding("key-unusable", text)
        yield from self._held_fencing()
        for text in self._leader.fences.device_troubles():
            yield Finding("fence-device", text)
        yield from self._fence_cleanup()
        yield from self._kept_back()
        yield from self.about_disks()
        yield from self._nodes_that_leave()
        yield from self._nodes_that_do_not_fence_themselves()
        for text in self._leader.last.warnings if self._leader.last is not None else ():
            yield Finding("scheduler", text)

    def _held_fencing(self) -> Iterator[Finding]:
        for node, why in self._leader.held.items():
            order = f"`hamgr fence --anyway {node}`" if why.code in _DOUBTS else f"`hamgr fence {node}`"
            text = f"fencing of {node} has to wait: {why} ({order} does not wait)"
            yield Finding("fencing-held", text, CRITICAL, node=node)

    def _fence_cleanup(self) -> Iterator[Finding]:
        for node in self._leader.nodes:
            left = self._leader.fences.leftover(node)
            if left and self._leader.cluster_state.membership(node) is MembershipState.FENCED:
                text = (
                    f"the fence of {node} has not released everything: {left}. hamgr goes on with it; what needs that "
                    "disk can start elsewhere once it is done (`hamgr cleanup`, if its start has failed meanwhile)"
                )
                yield Finding("fence-leftover", text, node=node)

    def _kept_back(self) -> Iterator[Finding]:
        """What is not started for the time being, or not on some node."""
        nodes: dict[str, list[str]] = {}
        for rule in self._leader.cluster_state.rules:
            if rule.code == SHARED:
                continue  # `about_disks` tells of it
            if rule.code == WAITS:
                text = f"{rule.resource} waits: {rule.why}. It is started as soon as that has changed"
                yield Finding("waits", text, resource=rule.resource)
            else:
                nodes.setdefault(rule.why, []).append(rule.resource)
        for why, resources in nodes.items():
            yield Finding("kept-off", f"{why}: {', '.join(resources)} will not be started there while another node can")

    def _nodes_that_leave(self) -> Iterator[Finding]:
        for node in self._leader.leaving:
            why = self._leader.why_kept(node) or "it is about to be forgotten"
            text = f"node {node} is not in the cluster file any more and is kept in standby: {why}"
            yield Finding("node-leaving", text, node=node)

    def _nodes_that_do_not_fence_themselves(self) -> Iterator[Finding]:
        """Members for which level `watchdog` is configured and would be refused."""
        for node in sorted(self._leader.observations.members):
            levels = self._leader.fences.config.levels_for(node)
            if (
                any(level.level is Level.WATCHDOG for level in levels)
                and self._leader.observations.promise(node) is None
            ):
                text = (
                    f"level watchdog is configured for {node}, whose hamgrd does not promise to fence the node: "
                    "set self-fencing there (docs/fencing.md)"
                )
                yield Finding("no-self-fence", text, node=node)


def bounded(value: Any, max_bytes: int = _MAX_BYTES) -> Any:
    """The document as etcd takes it: long texts are cut; if that is not enough, long lists, history first."""
    value = _cut(value)
    for field in ("fencing", "failed", "failcounts", "bans", "notices", "findings", "warnings", "resources", "nodes"):
        if len(encode(value)) <= max_bytes:
            return value
        if field in value:
            kept = value[field][: 5 if field in ("fencing", "failed", "findings", "notices", "warnings") else 0]
            note = (
                f"the status is too large for etcd: of {len(value[field])} entries under {field} {len(kept)} are shown"
            )
            value = {**value, field: kept}
            value["findings"] = [{"code": "status-too-large", "text": note}, *value.get("findings", ())]
            value["warnings"] = [note, *value.get("warnings", ())]
    return value


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else value[: _MAX_TEXT - 3] + "..."
    if isinstance(value, Mapping):
        return {key: _cut(entry) for key, entry in value.items()}
    return [_cut(entry) for entry in value] if isinstance(value, list) else value


def _hidden_orphan(rsc: Resource) -> bool:
    return rsc.orphan and not rsc.running_on


def _disabled(rsc: Resource) -> bool:
    return rsc.meta.get("target-role", "").lower() == "stopped"


def _agent(rsc: Resource) -> str:
    if rsc.primitive is None:
        return ""
    agent = rsc.primitive.agent
    if (agent.standard, agent.provider) == ("ocf", "hamgr"):
        return f"hamgr:{agent.type}"
    return ":".join(part for part in (agent.standard, agent.provider, agent.type) if part)


def _failed_actions(cib: Cib) -> tuple[FailedAction, ...]:
    return tuple(
        FailedAction(
            resource=resource.id,
            task=op.operation,
            node=state.name,
            interval_ms=op.interval_ms,
            rc=op.rc,
            rc_text=_rc_text(op.rc),
            status=_status_text(op.op_status),
            reason=op.exit_reason,
            call_id=op.call_id,
            at=_text(op.last_rc_change),
            took_ms=op.exec_time,
        )
        for state in cib.node_states
        for resource in state.resources
        for op in resource.ops
        if op.id.endswith("_last_failure_0") and not _was_only_found(op)
    )


def _was_only_found(op: OpRecord) -> bool:
    """A probe that found a resource where it was not expected is on record as a failure, and is none for people."""
    return op.operation == "monitor" and not op.interval_ms and op.op_status == 0 and op.rc in (0, 7, 8)


def _fail_counts(cib: Cib, work: WorkingSet) -> tuple[FailCount, ...]:
    found = []
    for state in cib.node_states:
        for resource, count in sorted(history.fail_counts(state).items()):
            rsc = work.by_id.get(resource)
            threshold = (
                ""
                if rsc is None or rsc.settings.migration_threshold >= INFINITY
                else str(rsc.settings.migration_threshold)
            )
            shown = "INFINITY" if count >= INFINITY else str(count)
            found.append(FailCount(resource, state.name, shown, threshold))
    return tuple(found)


def _bans(cib: Cib, bars: Bars) -> tuple[Ban, ...]:
    why = {bar_id(resource, node): text for resource, places in bars.items() for node, text in places.items()}
    return tuple(
        Ban(entry.id, entry.rsc, entry.node, entry.role == "Promoted", why.get(entry.id, ""))
        for entry in cib.constraints
        if isinstance(entry, Location) and entry.node and entry.score <= -INFINITY and not is_ours(entry.id)
    )


# As Pacemaker's tools say them (services_ocf_exitcode_str, pcmk_exec_status_str).
_RC_TEXTS = {
    Ocf.OK: "ok",
    Ocf.ERR_GENERIC: "error",
    Ocf.ERR_ARGS: "invalid parameter",
    Ocf.ERR_UNIMPLEMENTED: "unimplemented feature",
    Ocf.ERR_PERM: "insufficient privileges",
    Ocf.ERR_INSTALLED: "not installed",
    Ocf.ERR_CONFIGURED: "not configured",
    Ocf.NOT_RUNNING: "not running",
    Ocf.RUNNING_PROMOTED: "promoted",
    Ocf.FAILED_PROMOTED: "promoted (failed)",
    Ocf.DEGRADED: "OCF_DEGRADED",
    Ocf.DEGRADED_PROMOTED: "promoted (degraded)",
}
_STATUS_TEXTS = {
    ExecStatus.PENDING: "pending",
    ExecStatus.DONE: "complete",
    ExecStatus.CANCELLED: "Cancelled",
    ExecStatus.TIMEOUT: "Timed Out",
    ExecStatus.NOT_SUPPORTED: "NOT SUPPORTED",
    ExecStatus.ERROR: "Error",
    ExecStatus.NOT_INSTALLED: "Not installed",
}


def _rc_text(rc: int) -> str:
    return _RC_TEXTS.get(rc, f"exit code {rc}")  # type: ignore[call-overload,no-any-return]


def _status_text(status: int) -> str:
    return _STATUS_TEXTS.get(status, f"status {status}")  # type: ignore[call-overload,no-any-return]


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""
