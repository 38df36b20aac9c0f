"""What must be true after a schedule, whatever it was: each rule is a pure function of the evidence.

The rules are the invariants of docs/fencing.md; a finding names the rule that was broken and what shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hamgr.fencer.reasons import render
from hamgr.fencer.records import FenceRecord, Outcome
from hamgr_sandbox import kvapp
from hamgr_sandbox.campaign.schedule import Fault, may_cost

SECOND_WRITER, LOST_WRITE, STUCK = "second-writer", "lost-write", "stuck"
FENCE_WITHOUT_TOKEN, FENCE_WITHOUT_PROOF, FENCE_WITHOUT_CAUSE = "no-token", "no-proof", "no-cause"
FENCE_IN_DOUBT, START_UNPROVED, TAINT_LEFT = "fence-in-doubt", "start-unproved", "taint-left"
PROOF_UNTRUE, STALE_WRITE, START_TOO_SOON = "proof-untrue", "stale-write", "start-too-soon"
PODS_DIFFER, SAID_OK = "pods-differ", "said-ok"
OK_UNSERVED_S = 15.0  # more than it takes to notice anything, monitors included
_NOTHING_RUNS, _LOST = ("fenced", "unseen"), "lost"
_ABSENT = (("stop", 0), ("monitor", 7))
_OF_DISKS, _OF_POWER = ("detached", "not-attached"), "powered-off"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that was broken, and what shows it."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class FenceSeen:
    """A fence record with what etcd remembers of the moment in which it was first written.

    standings: what the leader held the nodes for. tokens: those of the record's tokens that a leader really had.
    """

    record: FenceRecord
    standings: Mapping[str, str]
    tokens: frozenset[int]

    def __str__(self) -> str:
        """How it ended, and of each level that failed the code and the sentence."""
        record = self.record
        ended = f"{record.target.node} by {record.level.level}, {record.outcome}: {record.reason}"
        failures = (
            f"{tried.level} (attempt {tried.attempt}): {tried.code} ({render(tried.code, tried.data)})"
            for tried in record.tried
        )
        return "; ".join((ended, *failures))


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that hamgr told of an instance of the application, in the order of telling.

    what: started, start-failed, stopped, stop-failed, fenced, absent (a probe found nothing), unknown (a leader died
    while something was under way).
    """

    what: str
    node: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class Plugging:
    """What the storage itself says: a disk was attached to a node or detached from it. `at` is wall time."""

    at: float
    handle: str
    node: str
    attached: bool


@dataclass(frozen=True, slots=True)
class Switching:
    """What the power switch itself says: a node was switched on or off. `at` is wall time."""

    at: float
    node: str
    on: bool


@dataclass(frozen=True, slots=True)
class Written:
    """One write of hamgr's state as etcd remembers it: who wrote, and who led at that revision (empty: nobody)."""

    revision: int
    by: str
    leader: str


@dataclass(frozen=True, slots=True)
class OnRecord:
    """What a leader held a node for, and its last operation on a resource there but for watching it; empty: none."""

    node: str
    standing: str
    task: str = ""
    rc: int = 0


@dataclass(frozen=True, slots=True)
class Intent:
    """A start as it was put on record before it began, and what was on record of the other nodes at that revision."""

    revision: int
    resource: str
    node: str
    others: Sequence[OnRecord]


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a cluster in which nothing is under way: what runs, by the kubelets, and what hamgr says.

    living: pods of ours with a running container, and their nodes. on_record: the pods that `hamgr status` says to run,
    likewise. said_ok: `hamgr status -s` said CLUSTER OK, and an application is configured. serves: whether clients
    are served. due: whether they should be.
    """

    when: str
    living: Mapping[str, str]
    on_record: Mapping[str, str]
    said_ok: bool
    serves: bool
    due: bool = True


@dataclass(slots=True)
class Evidence:
    """All that a schedule has left behind.

    faults: as they struck, each with the node that it hit. stuck: what was still missing when patience ended; empty:
    nothing was.
    """

    faults: Sequence[Fault]
    log: kvapp.Audit
    fences: Sequence[FenceSeen] = ()
    moments: Sequence[Moment] = ()
    storage: Sequence[Plugging] = ()
    switchings: Sequence[Switching] = ()
    writes: Sequence[Written] = ()
    intents: Sequence[Intent] = ()
    tainted: Sequence[str] = ()
    stuck: str = ""
    sights: Sequence[Sight] = ()
    ok_unserved_s: float = 0.0  # the longest time in which it was always said to be OK, and nobody was served
    holders_before: frozenset[str] = field(default_factory=frozenset)


def judge(evidence: Evidence) -> list[Finding]:
    """Every rule that was broken, what shows it told once."""
    found = [*_writers(evidence.log), *_lost(evidence.log)]
    for fence in evidence.fences:
        found += _fence(fence, evidence.faults)
        found += _proofs(fence.record, evidence.storage)
        found += _power_proofs(fence.record, evidence.switchings)
    found += _stale_writes(evidence.writes)
    found += _starts(evidence.moments, evidence.holders_before)
    found += _intents(evidence.intents)
    for sight in evidence.sights:
        found += _sight(sight)
    if evidence.ok_unserved_s > OK_UNSERVED_S:
        text = f"for {evidence.ok_unserved_s:.1f} s CLUSTER OK was said, and no client was served"
        found.append(Finding(SAID_OK, text))
    found += [Finding(TAINT_LEFT, f"{node} is still out of service") for node in evidence.tainted]
    if evidence.stuck:
        found.append(Finding(STUCK, evidence.stuck))
    return list(dict.fromkeys(found))


def _writers(log: kvapp.Audit) -> Iterator[Finding]:
    for intrusion in log.intrusions:
        text = f"pod {intrusion.record.uid} wrote number {intrusion.record.seq} after {intrusion.owner} had the log"
        yield Finding(SECOND_WRITER, text)
    for record in log.beside:
        text = f"pod {record.uid} opened the log on {record.node} while another pod there had it open"
        yield Finding(SECOND_WRITER, text)
    for number in log.duplicates:
        yield Finding(SECOND_WRITER, f"number {number} was written twice")
    for line in log.damaged:
        yield Finding(SECOND_WRITER, f"line {line} of the log is damaged")


def _sight(sight: Sight) -> Iterator[Finding]:
    """Once nothing is under way, every pod of ours that lives is on record, and nothing else is."""
    for pod, node in sight.living.items():
        if sight.on_record.get(pod) != node:
            yield Finding(PODS_DIFFER, f"{sight.when}: pod {pod} lives on {node}, and is on record nowhere")
    for pod, node in sight.on_record.items():
        if sight.living.get(pod) != node:
            yield Finding(PODS_DIFFER, f"{sight.when}: pod {pod} is on record on {node}, and does not live there")
    if sight.said_ok and not sight.serves:
        yield Finding(SAID_OK, f"{sight.when}: CLUSTER OK, and nobody is served")
    if not sight.due and sight.serves:
        yield Finding(PODS_DIFFER, f"{sight.when}: clients are served by what should not run")


def _lost(log: kvapp.Audit) -> Iterator[Finding]:
    for lost in log.lost:
        yield Finding(LOST_WRITE, f"acknowledged and not there: {lost}")


def _fence(fence: FenceSeen, faults: Sequence[Fault]) -> Iterator[Finding]:
    record = fence.record
    name = f"fence {record.id} of {record.target.node}"
    # Steps with a code were noticed, the others taken, the first of them under a token.
    was_refused = record.outcome is Outcome.FAILED and all(step.code for step in record.steps)
    if not record.tokens and not was_refused:
        yield Finding(FENCE_WITHOUT_TOKEN, f"{name} has no token")
    for token in record.tokens:
        if token not in fence.tokens:
            yield Finding(FENCE_WITHOUT_TOKEN, f"{name}: nobody ever led with token {token}")
    for proof in record.proofs:
        if proof.token not in record.tokens:
            yield Finding(FENCE_WITHOUT_TOKEN, f"{name}: the proof {proof.kind} was seen under token {proof.token}")
    if record.outcome is Outcome.SUCCEEDED and not record.proofs:
        yield Finding(FENCE_WITHOUT_PROOF, f"{name} succeeded without a proof")
    if _by_a_person(record):
        return
    lost = Counter(fence.standings.values())["lost"]
    if lost * 2 > len(fence.standings):
        yield Finding(FENCE_IN_DOUBT, f"{name} began while {lost} of {len(fence.standings)} nodes looked bad")
    if not may_cost(faults, record.target.node):
        yield Finding(FENCE_WITHOUT_CAUSE, f"{name} ({record.reason}), and nothing had happened to that node")


def _proofs(record: FenceRecord, storage: Sequence[Plugging]) -> Iterator[Finding]:
    """A proof about a disk is true when the storage says so, too: at that moment the node did not have it."""
    handles = {volume.pv: volume.handle for volume in record.volumes}
    for proof in record.proofs:
        if proof.kind not in _OF_DISKS:
            continue
        before = [each for each in storage if each.handle == handles.get(proof.subject) and each.at <= proof.at]
        if before and before[-1].attached and before[-1].node == record.target.node:
            text = f"fence {record.id}: {proof.observed}, yet the storage had it attached to {record.target.node}"
            yield Finding(PROOF_UNTRUE, text)


def _power_proofs(record: FenceRecord, switchings: Sequence[Switching]) -> Iterator[Finding]:
    """A proof that a node is off is true when the power switch itself had switched it off by then, and not on again."""
    for proof in record.proofs:
        if proof.kind != _OF_POWER:
            continue
        before = [each for each in switchings if each.node == proof.subject and each.at <= proof.at]
        if not before or before[-1].on:
            text = f"fence {record.id}: {proof.observed}, yet the switch did not have {proof.subject} off"
            yield Finding(PROOF_UNTRUE, text)


def _stale_writes(writes: Sequence[Written]) -> Iterator[Finding]:
    """Nobody but the leader of that moment ever writes."""
    for write in writes:
        if write.by != write.leader:
            text = f"{write.by} wrote at revision {write.revision}, when {write.leader or 'nobody'} led"
            yield Finding(STALE_WRITE, text)


def _by_a_person(record: FenceRecord) -> bool:
    return "@" in record.requested_by


def _starts(moments: Sequence[Moment], before: frozenset[str]) -> Iterator[Finding]:
    """No start while another node may have an instance: none but a stop, a fence or a look there ends that."""
    holders = set(before)
    for moment in moments:
        match moment.what:
            case "started" | "start-failed":
                for other in sorted(holders - {moment.node}):
                    text = f"started on {moment.node} at {moment.at} while it might have run on {other}"
                    yield Finding(START_UNPROVED, text)
                holders.add(moment.node)
            case "stopped" | "fenced" | "absent":
                holders.discard(moment.node)
            case "unknown" | "stop-failed":
                holders.add(moment.node)


def _intents(intents: Sequence[Intent]) -> Iterator[Finding]:
    """No start is begun, however long it may then wait for the disk, before the end of any other is on record."""
    for intent in intents:
        for other in intent.others:
            if not _proved_absent(other):
                last = f"{other.task} {other.rc}" if other.task else "nothing"
                text = (
                    f"start of {intent.resource} on {intent.node} was begun at revision {intent.revision}, when "
                    f"{other.node} was {other.standing} and the last on record there was: {last}"
                )
                yield Finding(START_TOO_SOON, text)


def _proved_absent(other: OnRecord) -> bool:
    if other.standing in _NOTHING_RUNS:
        return True
    return other.standing != _LOST and (other.task, other.rc) in _ABSENT
