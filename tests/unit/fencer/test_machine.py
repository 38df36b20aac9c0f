"""The fence's next step, rule by rule."""

from dataclasses import replace
from typing import Any

import pytest
from fixtures.fences import DISK, IN_USE, POD, a_record

from hamgr.fencer import machine
from hamgr.fencer.machine import (
    UNPARK_PATIENCE_S,
    Act,
    Adopt,
    Advance,
    AttachmentSeen,
    Effect,
    Fail,
    Isolation,
    NodeSeen,
    PodSeen,
    RivalSeen,
    Seen,
    Wait,
    after_failure,
    after_trouble,
    next_step,
)
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import Outcome, Phase, PodRef, Proof, Target
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.fencer.unfence import not_back

ATTACHED = AttachmentSeen("va-uid", "csi-va", attached=True)
PROOF = Proof("powered-off", "n1", "off")


def seen(pod: PodSeen | None = None, attachment: AttachmentSeen | None = None, **fields: Any) -> Seen:
    pods = {} if pod is None else {POD.uid: pod}
    attachments = {} if attachment is None else {DISK.pv: attachment}
    return Seen(pods=pods, attachments=attachments, **fields)


def test_an_unfit_level_fails_before_its_first_effect() -> None:
    why = reason("driver-not-listed", driver="d", pv="pv-1")
    assert next_step(a_record(), seen(unfit=why)) == Fail(why)
    assert next_step(a_record(), seen()) == Advance(Phase.CUT)


def test_clients_are_cut_off_only_where_they_can_reach() -> None:
    record = a_record(phase=Phase.CUT)
    assert next_step(record, seen(PodSeen(present=True, active=True))) == Act(Effect.CUT_CLIENTS, pods=(POD,))
    assert next_step(record, seen(PodSeen(present=True))) == Advance(Phase.DELETE)
    assert next_step(record, seen()) == Advance(Phase.DELETE)


def test_a_pod_in_graceful_deletion_is_still_deleted_by_force() -> None:
    record = a_record(phase=Phase.DELETE)
    assert next_step(record, seen(PodSeen(present=True, terminating=True))) == Act(Effect.DELETE_POD, pods=(POD,))


def test_a_finalizer_holds_a_pod_and_is_named() -> None:
    held = PodSeen(present=True, terminating=True, forced=True, finalizers=("example.com/hold",))
    step = next_step(a_record(phase=Phase.DELETE), seen(held))
    assert isinstance(step, Wait)
    assert "held by finalizer example.com/hold" in str(step.what)


def test_a_pod_that_came_back_is_adopted_once() -> None:
    back = PodRef("default", "db-n1", "pod-uid-2", "db")
    record = a_record(phase=Phase.DELETE)
    replaced = seen(PodSeen(replaced_by=back))
    assert next_step(record, replaced) == Adopt(pods=(back,))
    adopted = replace(record, pods=(*record.pods, back))
    both = Seen(pods={POD.uid: PodSeen(replaced_by=back), back.uid: PodSeen(present=True)})
    assert next_step(adopted, both) == Act(Effect.DELETE_POD, pods=(back,))


def test_a_foreign_pod_of_the_same_name_is_never_deleted() -> None:
    back = PodRef("default", "db-n1", "other", "")
    replaced = seen(PodSeen(replaced_by=back, foreign=True))
    step = next_step(a_record(phase=Phase.DELETE), replaced)
    assert isinstance(step, Fail)
    assert step.why.code == "foreign-pod"
    after_proof = a_record(Level.MANUAL, phase=Phase.DELETE, proofs=(PROOF,))
    assert next_step(after_proof, replaced) == Advance(Phase.DETACH)


def test_detach_ends_with_a_proof_only_when_the_attachment_is_gone() -> None:
    record = a_record(phase=Phase.DETACH)
    assert next_step(record, seen(None, ATTACHED)) == Act(Effect.DELETE_ATTACHMENT, volumes=(DISK,))
    waiting = next_step(record, seen(None, replace(ATTACHED, leaving=True, error="device busy")))
    assert isinstance(waiting, Wait)
    assert "device busy" in str(waiting.what)
    done = next_step(record, seen(None, AttachmentSeen()))
    assert isinstance(done, Advance)
    assert done.to is Phase.PROVED
    assert [(proof.kind, proof.subject) for proof in done.proofs] == [("detached", "pv-1")]


def test_an_attachment_that_came_back_is_deleted_as_well() -> None:
    record = a_record(phase=Phase.DETACH)
    again = AttachmentSeen("va-uid-2", "csi-other", attached=True)
    disk = replace(DISK, attachment="csi-other", attachment_uid="va-uid-2")
    assert next_step(record, seen(None, again)) == Adopt(volumes=(disk,))
    adopted = replace(record, volumes=(disk,))
    assert next_step(adopted, seen(None, again)) == Act(Effect.DELETE_ATTACHMENT, volumes=(disk,))


def test_no_detach_while_a_pod_that_came_back_would_have_it_attached_again() -> None:
    back = PodRef("default", "db-n1", "pod-uid-2", "db")
    step = next_step(a_record(phase=Phase.DETACH), seen(PodSeen(replaced_by=back), ATTACHED))
    assert step == Adopt(pods=(back,))


def test_an_attachment_without_the_attachers_finalizer_proves_nothing() -> None:
    record = a_record(phase=Phase.DETACH)
    step = next_step(record, seen(None, replace(ATTACHED, guarded=False)))
    assert isinstance(step, Fail)
    assert step.why.code == "attachment-unguarded"
    never_attached = next_step(record, seen(None, replace(ATTACHED, guarded=False, attached=False)))
    assert isinstance(never_attached, Act)
    proved_off = a_record(Level.NODE, phase=Phase.DETACH, proofs=(PROOF,))
    assert isinstance(next_step(proved_off, seen(None, replace(ATTACHED, guarded=False))), Act)


def test_what_was_never_attached_is_proved_as_such() -> None:
    record = a_record(phase=Phase.DETACH, volumes=(replace(DISK, attachment="", attachment_uid=""),))
    step = next_step(record, seen(None, AttachmentSeen()))
    assert isinstance(step, Advance)
    assert [proof.kind for proof in step.proofs] == ["not-attached"]
    without = next_step(a_record(phase=Phase.DETACH, volumes=()), seen())
    assert isinstance(without, Advance)
    assert [(proof.kind, "pod default/db-n1" in proof.observed) for proof in without.proofs] == [("no-volume", True)]
    nothing = next_step(a_record(phase=Phase.DETACH, pods=(), volumes=()), seen())
    assert isinstance(nothing, Advance)
    assert [("no pod of ours" in proof.observed) for proof in nothing.proofs] == [True]


def test_the_volume_leaves_volumes_in_use_only_after_the_proof() -> None:
    phases = machine.PLANS[Level.VOLUME]
    assert phases.index(Phase.RELEASE) > phases.index(Phase.PROVED) > phases.index(Phase.DETACH)
    for plan in machine.PLANS.values():
        assert plan.index(Phase.CUT) == 1
        if Phase.RELEASE in plan:
            assert plan.index(Phase.RELEASE) > plan.index(Phase.PROVED)
        if Phase.TAINT in plan:
            assert plan.index(Phase.TAINT) > plan.index(Phase.PROVED)
            assert plan.index(Phase.DELETE) < plan.index(Phase.DETACH)


@pytest.mark.parametrize(
    ("level", "until_the_proof", "afterwards"),
    [
        (Level.STOP, "intent cut stop", ""),
        (Level.VOLUME, "intent cut delete detach", "release"),
        (Level.NODE, "intent cut isolate", "taint delete detach release recover"),
        (Level.WATCHDOG, "intent cut isolate", "taint delete detach release"),
        (Level.MANUAL, "intent cut isolate", "taint delete detach release"),
    ],
)
def test_nothing_that_only_a_proof_allows_comes_before_it(level: Level, until_the_proof: str, afterwards: str) -> None:
    assert " ".join(machine.PLANS[level]) == " ".join(f"{until_the_proof} proved {afterwards} done".split())


def test_release_takes_only_our_volume() -> None:
    record = a_record(phase=Phase.RELEASE, proofs=(PROOF,))
    node = NodeSeen(in_use=("kubernetes.io/csi/other^x", IN_USE))
    assert next_step(record, seen(node=node)) == Act(Effect.MARK_IN_USE, volumes=(DISK,))
    for others in (("kubernetes.io/csi/other^x",), ("kubernetes.io/csi/other^x", DISK.volume.released_mark)):
        assert next_step(record, seen(node=NodeSeen(in_use=others))) == Advance(Phase.DONE)


@pytest.mark.parametrize("level", [Level.NODE, Level.WATCHDOG, Level.MANUAL])
def test_a_machine_that_is_off_has_no_mount_to_report(level: Level) -> None:
    record = a_record(level, phase=Phase.RELEASE, proofs=(PROOF,))
    node = NodeSeen(in_use=(IN_USE,))
    assert next_step(record, seen(node=node)) == Act(Effect.REMOVE_IN_USE, volumes=(DISK,))


def test_a_living_kubelet_is_waited_for_or_its_hamgrds_proof_taken() -> None:
    record = a_record(phase=Phase.RELEASE, proofs=(PROOF,), target=Target("n1", alive=True))
    node = NodeSeen(ready=True, in_use=(IN_USE,))
    assert isinstance(next_step(record, seen(node=node)), Wait)
    proved = seen(node=node, unmounted=frozenset({"pv-1"}))
    assert next_step(record, proved) == Act(Effect.REMOVE_IN_USE, volumes=(DISK,))


def test_the_kubelet_of_a_lost_node_is_waited_for_when_it_shows_life() -> None:
    """Only its hamgrd is gone. The Ready condition tells nothing: a crashed host keeps it for most of a minute."""
    record = a_record(phase=Phase.RELEASE, proofs=(PROOF,))
    node = NodeSeen(ready=True, in_use=(IN_USE,))
    remove, mark = (Act(effect, volumes=(DISK,)) for effect in (Effect.REMOVE_IN_USE, Effect.MARK_IN_USE))
    assert next_step(record, seen(node=node)) == mark
    assert isinstance(next_step(record, seen(node=node, kubelet_lives=True)), Wait)
    assert next_step(record, seen(node=node, kubelet_lives=True, unmounted=frozenset({"pv-1"}))) == remove
    # One that does not let go of a disk that it has lost is not waited for longer than it takes to report once.
    assert next_step(record, seen(node=node, kubelet_lives=True, phase_s=machine.UNMOUNT_PATIENCE_S)) == mark
    off = replace(record, levels=(LevelConfig(Level.NODE, ("d",)),))
    assert next_step(off, seen(node=node, kubelet_lives=True)) == remove


@pytest.mark.parametrize(
    ("isolation", "expected"),
    [
        (None, Act(Effect.POWER_OFF)),
        (Isolation(failure=reason("no-device", node="n1")), Fail(reason("no-device", node="n1"))),
        (Isolation(proof=PROOF), Advance(Phase.PROVED, (PROOF,))),
        (Isolation(waiting=reason("node-alive", node="n1")), Wait(reason("node-alive", node="n1"))),
    ],
)
def test_isolation(isolation: Isolation | None, expected: machine.Step) -> None:
    assert next_step(a_record(Level.WATCHDOG, phase=Phase.ISOLATE), seen(isolation=isolation)) == expected


def test_no_taint_on_a_ready_node_and_none_twice() -> None:
    record = a_record(Level.MANUAL, phase=Phase.TAINT, proofs=(PROOF,))
    ready = next_step(record, seen(node=NodeSeen(uid="node-uid", ready=True)))
    assert ready == Advance(Phase.DELETE, note=reason("taint-not-needed", node="n1"))
    for ready_state in (False, None):
        assert next_step(record, seen(node=NodeSeen(uid="node-uid", ready=ready_state))) == Act(Effect.TAINT)
    tainted = NodeSeen(uid="node-uid", ready=None, out_of_service=True)
    assert next_step(record, seen(node=tainted)) == Advance(Phase.DELETE)
    assert next_step(record, seen(node=NodeSeen(exists=False))) == Advance(Phase.DELETE)
    assert next_step(record, seen(node=NodeSeen(uid="another", ready=None))) == Advance(Phase.DELETE)
    unknown = replace(record, node_uid="")
    assert next_step(unknown, seen(node=NodeSeen(uid="node-uid", ready=None))) == Act(Effect.TAINT)
    assert next_step(unknown, seen(node=NodeSeen(exists=False))) == Advance(Phase.DELETE)


@pytest.mark.parametrize(("boot", "step"), [("boot-1", Act(Effect.TAINT)), ("boot-2", Advance(Phase.DELETE))])
def test_no_taint_on_a_node_that_starts_again(boot: str, step: machine.Step) -> None:
    """It is not Ready yet, and mounts volumes already, also other people's: the taint would have them detached."""
    record = a_record(Level.NODE, phase=Phase.TAINT, proofs=(PROOF,))
    assert next_step(record, seen(node=NodeSeen(uid="node-uid", boot_id=boot, ready=False))) == step


PRESENT = PodSeen(present=True)
BACK = NodeSeen(uid="node-uid", boot_id="boot-2", ready=True)


@pytest.mark.parametrize("phase", [Phase.DELETE, Phase.DETACH])
@pytest.mark.parametrize("level", [Level.NODE, Level.WATCHDOG, Level.MANUAL])
def test_a_node_that_has_started_again_is_off_no_more(level: Level, phase: Phase) -> None:
    """Its kubelet starts the pods whose objects are still there: to delete those by force would stop nothing."""
    record = a_record(level, phase=phase, proofs=(PROOF,))
    failed = next_step(record, seen(PRESENT, node=BACK))
    assert isinstance(failed, Fail)
    assert failed.why.code == "node-restarted"
    tainted = replace(BACK, out_of_service=True, ours=True)
    assert next_step(record, seen(PRESENT, node=tainted)) == Act(Effect.UNTAINT)
    assert isinstance(next_step(record, seen(PRESENT, node=replace(BACK, out_of_service=True))), Fail)  # not ours
    assert not isinstance(next_step(record, seen(node=BACK)), Fail)  # without objects nothing is started again


def test_what_proved_an_earlier_boot_off_proves_nothing_of_the_next() -> None:
    """Neither does a later level: the promise and the word that the record has are about the boot before, too."""
    why = reason("node-restarted", node="n1", boot_id="boot-2")
    for level in (Level.WATCHDOG, Level.MANUAL):
        after = after_failure(a_record(LevelConfig(level, attempts=3), Level.WATCHDOG, proofs=(PROOF,)), why, 1.0)
        assert (after.outcome, after.ended_at, after.proofs) == (Outcome.FAILED, 1.0, ())
    device = LevelConfig(Level.NODE, ("d",), attempts=2)
    again = after_failure(a_record(device, Level.WATCHDOG, proofs=(PROOF,)), why, 1.0)
    assert (again.outcome, again.level_index, again.attempt) == (Outcome.PENDING, 0, 2)
    assert (again.proofs, again.boot_id, again.phase) == ((), "", Phase.INTENT)
    assert after_failure(again, why, 2.0).outcome is Outcome.FAILED


def test_a_boot_that_was_seen_before_the_node_was_switched_off_is_over_as_well() -> None:
    """The leader that was about to switch it off died, and the node had started again before the next one did it."""
    begun = a_record(Level.NODE, phase=Phase.ISOLATE).before_switching_off(["boot-1", "boot-2", ""])
    assert begun.ended_boots == ("boot-2",)
    proved = replace(begun, phase=Phase.DELETE, proofs=(PROOF,))
    assert next_step(proved, seen(PRESENT, node=BACK)) == Act(Effect.DELETE_POD, pods=(POD,))
    back = not_back(replace(proved, outcome=Outcome.SUCCEEDED), BACK, ())
    assert back is not None
    assert back.code == "same-boot"
    assert isinstance(next_step(proved, seen(PRESENT, node=replace(BACK, boot_id="boot-3"))), Fail)
    assert proved.before_switching_off(["boot-3"]) == proved  # after the proof a new boot is a new start
    for level in (Level.WATCHDOG, Level.MANUAL, Level.VOLUME):  # promises and words are about one boot
        other = a_record(level, phase=Phase.ISOLATE)
        assert other.before_switching_off(["boot-2"]) == other
    failed = after_failure(begun, reason("device-failed", device="d", node="n1", error="no"), 1.0)
    assert failed.ended_boots == ()  # nothing was switched off


@pytest.mark.parametrize(("fenced", "boot"), [("boot-1", "boot-1"), ("boot-1", ""), ("", "boot-1")])
def test_a_node_that_has_not_reported_another_boot_stays_off(fenced: str, boot: str) -> None:
    record = a_record(Level.NODE, phase=Phase.DELETE, proofs=(PROOF,), boot_id=fenced)
    node = NodeSeen(uid="node-uid", boot_id=boot, ready=True)
    assert next_step(record, seen(PRESENT, node=node)) == Act(Effect.DELETE_POD, pods=(POD,))


def test_a_detach_at_the_storage_holds_whatever_the_node_does() -> None:
    record = a_record(Level.VOLUME, phase=Phase.DELETE)
    assert next_step(record, seen(PRESENT, node=BACK)) == Act(Effect.DELETE_POD, pods=(POD,))


def test_stop_needs_the_kubelets_word() -> None:
    record = a_record(Level.STOP, phase=Phase.STOP)
    assert next_step(record, seen(PodSeen(present=True))) == Act(Effect.STOP_POD, pods=(POD,))
    assert isinstance(next_step(record, seen(PodSeen(present=True, terminating=True))), Wait)
    gone = next_step(record, seen(PodSeen()))
    assert isinstance(gone, Fail)
    assert gone.why.code == "stop-unproved"
    ended = next_step(record, seen(PodSeen(ended=True)))
    assert isinstance(ended, Advance)
    assert [proof.kind for proof in ended.proofs] == ["stopped"]


def test_nothing_to_stop_is_no_proof() -> None:
    step = next_step(a_record(Level.STOP, phase=Phase.STOP, pods=()), seen())
    assert step == Fail(reason("no-pod", node="n1"))


def test_reboot_switches_on_after_everything_else() -> None:
    level = LevelConfig(Level.NODE, ("d",), action="reboot")
    record = a_record(level, phase=Phase.RECOVER, proofs=(PROOF,))
    assert next_step(record, seen()) == Act(Effect.POWER_ON)
    assert next_step(record, seen(powered_on=True)) == Advance(Phase.DONE)
    off = a_record(LevelConfig(Level.NODE, ("d",)), phase=Phase.RECOVER, proofs=(PROOF,))
    assert next_step(off, seen()) == Advance(Phase.DONE)


@pytest.mark.parametrize("level", Level)
def test_there_is_a_next_step_in_every_phase_of_every_level(level: Level) -> None:
    """Whatever a record that is resumed says: also that it is pending, and that all is done."""
    steps = [next_step(a_record(level, phase=phase, proofs=(PROOF,)), seen()) for phase in machine.PLANS[level]]
    assert steps[-1] == Advance(Phase.DONE)


def test_waiting_beyond_the_time_out_fails_the_level_but_not_a_proved_fence() -> None:
    leaving = replace(ATTACHED, leaving=True)
    record = a_record(LevelConfig(Level.VOLUME, timeout_s=10.0), phase=Phase.DETACH)
    assert isinstance(next_step(record, seen(None, leaving, level_s=9.9)), Wait)
    failed = next_step(record, seen(None, leaving, level_s=10.0))
    assert isinstance(failed, Fail)
    assert failed.why.code == "timeout"
    assert "has not confirmed the detach of pv-1 from n1" in str(failed.why)
    in_the_end = next_step(record, seen(None, AttachmentSeen(), level_s=10.0))
    assert isinstance(in_the_end, Advance)
    assert [proof.kind for proof in in_the_end.proofs] == ["detached"]
    proved = a_record(LevelConfig(Level.MANUAL, timeout_s=10.0), phase=Phase.DETACH, proofs=(PROOF,))
    assert isinstance(next_step(proved, seen(None, leaving, level_s=99.0, phase_s=1.0)), Wait)
    late = next_step(proved, seen(None, leaving, level_s=99.0, phase_s=machine.RELEASE_PATIENCE_S))
    assert isinstance(late, Advance)
    assert (late.to, late.note.code if late.note else "") == (Phase.RELEASE, "release-late")


def test_pods_of_a_node_that_is_proved_off_are_never_left_behind() -> None:
    """When it starts again, its kubelet starts those whose objects are still there, beside those started elsewhere."""
    refused = reason("kube-refused", error="pods are forbidden")
    record = a_record(Level.NODE, phase=Phase.DELETE, proofs=(PROOF,))
    late = machine.RELEASE_PATIENCE_S
    assert after_trouble(record, seen(phase_s=late - 1, level_s=late), refused) == Wait(refused)
    assert after_trouble(record, seen(phase_s=late, level_s=late), refused) == Fail(refused)


def test_trouble_is_waited_out_until_the_level_is_over_and_after_the_proof_stepped_over() -> None:
    down = reason("kube-unavailable", error="no answer")
    begun = a_record(LevelConfig(Level.VOLUME, timeout_s=60), phase=Phase.DETACH)
    assert after_trouble(begun, seen(level_s=59), down) == Wait(down)
    assert after_trouble(begun, seen(level_s=60), down) == Fail(down)
    proved = replace(begun, phase=Phase.RELEASE, proofs=(PROOF,))
    assert after_trouble(proved, seen(level_s=90, phase_s=29), down) == Wait(down)
    step = after_trouble(proved, seen(level_s=90, phase_s=30), down)
    assert isinstance(step, Advance)
    assert (step.to, step.note) == (Phase.DONE, reason("release-late", waiting=str(down)))


def test_after_a_failure_comes_the_next_attempt_then_the_next_level_then_the_end() -> None:
    record = a_record(LevelConfig(Level.VOLUME, attempts=2), Level.MANUAL, phase=Phase.DETACH)
    why = reason("timeout", level="volume", seconds=1.0, waiting="x")
    second = after_failure(record, why, 1.0)
    assert (second.level_index, second.attempt, second.phase) == (0, 2, Phase.INTENT)
    third = after_failure(second, why, 2.0)
    assert (third.level_index, third.attempt, third.outcome) == (1, 1, Outcome.PENDING)
    end = after_failure(third, reason("not-confirmed", node="n1"), 3.0)
    assert (end.outcome, end.ended_at) == (Outcome.FAILED, 3.0)
    assert [(tried.level, tried.attempt, tried.code) for tried in end.tried] == [
        ("volume", 1, "timeout"),
        ("volume", 2, "timeout"),
        ("manual", 1, "not-confirmed"),
    ]
    assert [(step.code, step.at, step.data) for step in end.steps] == [
        ("timeout", 1.0, dict(why.data)),
        ("timeout", 2.0, dict(why.data)),
        ("not-confirmed", 3.0, {"node": "n1"}),
    ]


@pytest.mark.parametrize(
    "why",
    [
        reason("driver-not-listed", driver="d", pv="p"),
        reason("driver-does-not-attach", driver="d", pv="p"),
        reason("volume-unprovable", volume="v", pod="default/db-n1", kind="nfs"),
        reason("foreign-pod", pod="default/web", pv="p", node="n1"),
        reason("attachment-unguarded", name="csi-va"),
        reason("no-pod", node="n1"),
        reason("stop-unproved", pod="default/db-n1"),
        reason("no-device", node="n1"),
        reason("unknown-device", device="d"),
        reason("no-self-fence", node="n1"),
        reason("promise-gone", node="n1"),
        reason("node-renews", node="n1"),
        reason("not-confirmed", node="n1"),
    ],
    ids=lambda why: why.code,
)
def test_a_failure_that_no_retry_cures_goes_to_the_next_level_at_once(why: Reason) -> None:
    record = a_record(LevelConfig(Level.VOLUME, attempts=5), Level.MANUAL)
    after = after_failure(record, why, 1.0)
    assert (after.level_index, after.attempt) == (1, 1)


def test_a_report_of_an_earlier_boot_is_no_sign_of_a_new_start() -> None:
    """The node had just restarted when it was fenced: its hamgrd was back, its kubelet had not reported yet."""
    target = Target("n1", boot_id="boot-2", outdated_boot_id="boot-1")
    record = a_record(Level.NODE, phase=Phase.DELETE, proofs=(PROOF,), target=target, boot_id="boot-2")
    for boot in ("boot-1", "boot-2"):
        node = NodeSeen(uid="node-uid", boot_id=boot, ready=True)
        assert next_step(record, seen(PRESENT, node=node)) == Act(Effect.DELETE_POD, pods=(POD,))
        back = not_back(record, node, ())
        assert back is not None
        assert back.code == "same-boot"
    node = NodeSeen(uid="node-uid", boot_id="boot-3", ready=True)
    assert isinstance(next_step(record, seen(PRESENT, node=node)), Fail)
    assert not_back(record, node, ()) is None


def test_nothing_is_released_before_the_parked_pods_that_would_take_it_are_gone() -> None:
    record, one = a_record(phase=Phase.CUT), PodRef("default", "db-n3", "u3", "db")
    assert next_step(record, seen(rivals=(RivalSeen(one),))) == Act(Effect.UNPARK, pods=(one,))
    going = RivalSeen(one, terminating=True)
    step = next_step(record, seen(rivals=(going,), phase_s=UNPARK_PATIENCE_S - 0.1))
    assert isinstance(step, Wait)
    assert "default/db-n3" in str(step.what)
    by_force = Act(Effect.UNPARK_BY_FORCE, pods=(one,))
    assert next_step(record, seen(rivals=(going,), phase_s=UNPARK_PATIENCE_S)) == by_force
    assert next_step(record, seen(rivals=(replace(going, silent=True),))) == by_force


def test_a_parked_pod_whose_disk_is_attached_to_its_node_is_not_taken_by_force() -> None:
    record, one = a_record(phase=Phase.CUT), PodRef("default", "db-n3", "u3", "db")
    attached = RivalSeen(one, terminating=True, silent=True, attached=True)
    assert isinstance(next_step(record, seen(rivals=(attached,), phase_s=99.0)), Advance)
