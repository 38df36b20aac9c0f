"""The machine against a model of the world that changes under it, with crashes anywhere: what must never happen.

The model knows the truth (who can write to the disk); the machine sees objects only, as the API server shows them.
"""

from __future__ import annotations

from dataclasses import replace

from fixtures.fences import DISK, IN_USE, POD, a_record
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hamgr.fencer import machine
from hamgr.fencer.machine import Act, Adopt, Advance, AttachmentSeen, Effect, Fail, Isolation, NodeSeen, PodSeen, Seen
from hamgr.fencer.records import FenceRecord, Outcome, Phase, PodRef, Proof
from hamgr.fencer.topology import Level, LevelConfig


class FenceInAModelWorld(RuleBasedStateMachine):
    """One fence by two levels; the process that drives it may die between any two steps, or within one."""

    @initialize(first=st.sampled_from([Level.VOLUME, Level.NODE]), ready=st.sampled_from([True, False, None]))
    def begin(self, first: Level, ready: bool | None) -> None:
        levels = (LevelConfig(first, ("pdu",), timeout_s=10.0), LevelConfig(Level.MANUAL, timeout_s=10.0))
        self.record: FenceRecord = replace(a_record(*levels), discovered=True)
        self.saved = self.record
        self.pod: str | None = POD.uid
        self.pods_made = 1
        self.active = True
        self.attachment: str | None = "va-uid"
        self.attachments_made = 1
        self.leaving = False
        self.disk_on_node = True
        self.powered = True
        self.in_use = {IN_USE, "kubernetes.io/csi/other^disk"}
        self.ready = ready
        self.tainted = False
        self.acted = False
        self.level_s = 0.0

    # -- the fence -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.record.outcome is Outcome.PENDING)
    @rule()
    def step(self) -> None:
        step = machine.next_step(self.record, self._seen())
        match step:
            case Act():
                self._carry_out(step)
            case Adopt():
                changed = {volume.pv: volume for volume in step.volumes}
                volumes = tuple(changed.get(volume.pv, volume) for volume in self.record.volumes)
                self._save(replace(self.record, pods=(*self.record.pods, *step.pods), volumes=volumes))
            case Advance():
                record = replace(self.record, phase=step.to, proofs=(*self.record.proofs, *step.proofs))
                if step.proofs:
                    self._audit_proof(step.proofs)
                if step.to is Phase.DONE:
                    record = replace(record, outcome=Outcome.SUCCEEDED)
                self._save(record)
            case Fail():
                self._save(machine.after_failure(self.record, step.why, 0.0))
                self.level_s, self.acted = 0.0, False
            case machine.Wait():
                self.level_s += 1.0

    @rule()
    def another_process_takes_over(self) -> None:
        self.record = self.saved
        self.acted = False
        self.level_s = 0.0

    # -- the world -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.leaving)
    @rule()
    def attacher_detaches(self) -> None:
        self.disk_on_node = False
        self.attachment, self.leaving = None, False

    @precondition(lambda self: self.pod is not None and self.attachment is None)
    @rule()
    def attach_detach_controller_attaches_again(self) -> None:
        self.attachments_made += 1
        self.attachment = f"va-uid-{self.attachments_made}"
        self.disk_on_node = True

    @precondition(lambda self: self.pod is None and self.pods_made < 3 and not self.record.proofs)
    @rule()
    def somebody_makes_the_pod_again(self) -> None:
        self.pods_made += 1
        self.pod = f"pod-uid-{self.pods_made}"

    @rule(ready=st.sampled_from([True, False, None]))
    def node_controller_changes_its_mind(self, ready: bool | None) -> None:
        if not self.tainted:
            self.ready = ready

    # -- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def success_needs_a_proof_that_was_true(self) -> None:
        if getattr(self, "record", None) is not None and self.record.outcome is Outcome.SUCCEEDED:
            assert self.record.proofs

    @invariant()
    def others_volumes_are_never_touched(self) -> None:
        if hasattr(self, "in_use"):
            assert "kubernetes.io/csi/other^disk" in self.in_use

    def _audit_proof(self, proofs: tuple[Proof, ...]) -> None:
        """At the moment of the proof the old writer cannot write: powered off, no disk, or an operator says so."""
        if {proof.kind for proof in proofs} != {"confirmed"}:
            assert not (self.powered and self.disk_on_node)

    def _save(self, record: FenceRecord) -> None:
        self.record = self.saved = record

    def _seen(self) -> Seen:
        pods = {}
        for known in self.record.pods:
            if self.pod == known.uid:
                pods[known.uid] = PodSeen(present=True, active=self.active)
            elif self.pod is not None:
                pods[known.uid] = PodSeen(replaced_by=PodRef(POD.namespace, POD.name, self.pod, "db"))
        attachment = AttachmentSeen()
        if self.attachment:
            attachment = AttachmentSeen(self.attachment, DISK.attachment, self.leaving, attached=True)
        node = NodeSeen(uid="node-uid", ready=self.ready, in_use=tuple(self.in_use), out_of_service=self.tainted)
        return Seen(pods, {DISK.pv: attachment}, node, self._isolation(), level_s=self.level_s, phase_s=self.level_s)

    def _isolation(self) -> Isolation | None:
        if self.record.level.level is Level.MANUAL:
            return Isolation(proof=Proof("confirmed", "n1", "word"))
        return Isolation(proof=Proof("powered-off", "n1", "off")) if self.acted else None

    def _carry_out(self, act: Act) -> None:
        match act.effect:
            case Effect.CUT_CLIENTS:
                self.active = False
            case Effect.DELETE_POD:
                assert not self.active or self.pods_made > 1
                if self.pod in {pod.uid for pod in act.pods}:
                    self.pod = None
            case Effect.DELETE_ATTACHMENT:
                assert self.pod is None
                self.leaving = self.attachment in {volume.attachment_uid for volume in act.volumes}
            case Effect.POWER_OFF:
                self.powered = False
                self.acted = True
            case Effect.TAINT:
                assert self.record.proofs
                assert self.ready is not True
                self.tainted = True
            case Effect.REMOVE_IN_USE:
                assert self.record.proofs
                self.in_use -= {volume.volume.unique_name for volume in act.volumes}
            case Effect.MARK_IN_USE:
                assert self.record.proofs
                assert self.record.level.level is Level.VOLUME
                for volume in act.volumes:
                    self.in_use.remove(volume.volume.unique_name)
                    self.in_use.add(volume.volume.released_mark)


TestFenceInAModelWorld = FenceInAModelWorld.TestCase
TestFenceInAModelWorld.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
