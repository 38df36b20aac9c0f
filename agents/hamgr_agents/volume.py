"""The `volume` agent: the disk of a ReadWriteOnce claim, attached to one node at a time.

``start`` attaches the disk ahead of the pod, under the attach-detach controller's own name for the VolumeAttachment,
which the controller adopts when the pod comes. ``stop`` is the moment that counts: it succeeds only when the node is
proved to have let go of the disk and the disk is detached. Nothing is ever taken from a node here that may have it
mounted: that is the fencer's work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from hamgr.executor.agent import ActionContext, ActionResult, Agent
from hamgr.executor.metadata import Action, Metadata, Parameter
from hamgr.executor.ocf import Ocf
from hamgr.kube.affinity import why_not_for_volume
from hamgr.kube.errors import AlreadyExists, NotFound
from hamgr.kube.objects import (
    ANNOTATION_KEPT_BY,
    FINALIZER,
    NODE,
    POD,
    PV,
    PVC,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    Obj,
    annotations_of,
    is_terminating,
    name_of,
    namespace_of,
    revision_of,
    uid_of,
)
from hamgr.kube.pods import delete_gracefully, is_parked, node_of
from hamgr.kube.volumes import (
    Attachment,
    UnboundClaim,
    UnusableVolume,
    Volume,
    attach_required,
    attachment_of,
    attachments,
    create_attachment,
    delete_attachment,
    name_settles_s,
    remove_from_in_use,
    users_of_claim,
    volume_of,
)
from hamgr_agents.binding import SELECTED_NODE, Await, Refuse, towards_bound
from hamgr_agents.observation import (
    Due,
    access,
    ask_for,
    clearing,
    look_up,
    settle,
    volume_behind,
    volume_named,
    why_held,
)
from hamgr_agents.rivals import Rival, instances_on, rivals, twins

_SEE_END_S = 0.1  # until our watch tells of an attachment's end that the API server has told already
_ASK_NODE_S = 0.1  # how often a node is asked for its unmount: its answer causes no event here


class VolumeAgent(Agent):
    """See the module."""

    metadata: ClassVar[Metadata] = Metadata(
        name="volume",
        version="1.0",
        shortdesc="Attaches the disk of a ReadWriteOnce claim to one node",
        longdesc=(
            "Holds the CSI volume behind a PersistentVolumeClaim on the node where the resource is active.\n"
            "It is attached there before the pod that mounts it starts, never taken from another node without proof "
            "that it is unmounted there, and detached when the resource stops."
        ),
        parameters=(
            Parameter("claim", "Name of the PersistentVolumeClaim", required=True, unique=True),
            Parameter("namespace", "Namespace of the claim", default="default"),
            Parameter("pv", "Name of the PersistentVolume. Only needed for a claim that is not bound yet."),
        ),
        actions=(
            Action("start", timeout_s=60),
            Action("stop", timeout_s=60),
            Action("monitor", timeout_s=20, interval_s=10),
            Action("validate-all", timeout_s=20),
            Action("meta-data", timeout_s=5),
        ),
    )

    def start(self, ctx: ActionContext) -> ActionResult:
        """Attach to the node; wait while another node is letting go, fail when one holds on."""

        def step() -> ActionResult | Due | str:
            try:
                volume = _volume(ctx)
            except NotFound as error:
                return ActionResult(Ocf.ERR_GENERIC, error.message, waiting=True)
            except UnboundClaim:
                return self._step_towards_bound(ctx)
            except UnusableVolume as error:
                return ActionResult(Ocf.ERR_CONFIGURED, error.message)
            if leaving := _why_leaving(ctx):
                return ActionResult(Ocf.ERR_CONFIGURED, leaving)
            if unreachable := _why_not_here(ctx, volume):
                return ActionResult(Ocf.ERR_INSTALLED, unreachable)
            if doubled := twins(volume, access(ctx).cache.list(PV)):
                return ActionResult(Ocf.ERR_CONFIGURED, _doubled(volume, doubled))
            return self._step_towards_attached(ctx, volume)

        cache = access(ctx).cache
        return settle(ctx, step, lambda: cache.changes(VOLUME_ATTACHMENT, PVC))

    def may_start(self, ctx: ActionContext) -> ActionResult:
        """OK: the claim is bound, or a start would have it bound."""
        try:
            _volume(ctx)
        except NotFound as error:
            return ActionResult(Ocf.ERR_GENERIC, error.message, waiting=True)
        except UnboundClaim:
            needed = self._towards_bound(ctx)
            if isinstance(needed, Await) and not needed.for_node:
                return ActionResult(Ocf.ERR_GENERIC, needed.why, waiting=True)
        except UnusableVolume:
            pass  # for the start to say
        return ActionResult(Ocf.OK)

    def monitor(self, ctx: ActionContext) -> ActionResult:
        """OK: attached to this node. NOT_RUNNING: not, or on its way off.

        Kubernetes detaches a disk that no pod on its node uses. The disk of an instance that was stopped is none the
        worse for that: the next pod has it attached again. Only a probe must know, since it asks where the disk is.
        """
        try:
            volume = _volume(ctx)
        except (NotFound, UnusableVolume) as error:
            return ActionResult(Ocf.NOT_RUNNING, error.message)
        name = volume.attachment_name(ctx.node)
        missing = _why_not_attached(volume, ctx.node, look_up(ctx, VOLUME_ATTACHMENT, name))
        if not missing:
            return ActionResult(Ocf.OK)
        found = ask_for(ctx, VOLUME_ATTACHMENT, name)
        missing = _why_not_attached(volume, ctx.node, found)
        if not missing:
            return ActionResult(Ocf.OK)
        if not attach_required(access(ctx).kube, volume.driver):
            used = found is None and self._users(ctx)
            return ActionResult(Ocf.OK) if used else ActionResult(Ocf.NOT_RUNNING, missing)
        if ctx.interval_ms and self._is_left_alone(ctx, volume):
            return ActionResult(Ocf.OK, f"{missing}, which no pod there needs just now")
        return ActionResult(Ocf.NOT_RUNNING, missing)

    def _is_left_alone(self, ctx: ActionContext, volume: Volume) -> bool:
        """Whether no pod on this node uses the disk, and no other node has it."""
        if any(attachment.node != ctx.node for attachment in attachments(access(ctx).kube, volume)):
            return False
        return not self._users(ctx)

    def stop(self, ctx: ActionContext) -> ActionResult:
        """OK once no pod there uses the claim, the node is proved to have unmounted it, and it is detached."""

        in_the_way = clearing(ctx, [(ctx.text("namespace"), ctx.text("claim"))])

        def step() -> ActionResult | str:
            if rival := in_the_way():
                return rival
            disks, why_none = _disks(ctx)
            if not disks:
                # A claim that a pod uses is protected from deletion, and stays bound while it exists.
                return ActionResult(Ocf.OK, f"{why_none}, so nothing is attached for it")
            for volume in disks:
                if waiting_for := self._step_towards_detach(ctx, volume):
                    return f"{volume.pv} is not proved to be off {ctx.node}: {waiting_for}"
            return ActionResult(Ocf.OK)

        cache = access(ctx).cache
        return settle(ctx, step, lambda: cache.changes(VOLUME_ATTACHMENT, NODE), _ASK_NODE_S)

    def validate_all(self, ctx: ActionContext) -> ActionResult:
        """Also: the claim exists, is bound to a CSI volume, and its driver attaches at the storage."""
        checked = super().validate_all(ctx)
        if checked.rc is not Ocf.OK or ctx.kube is None:
            return checked
        try:
            volume = _volume(ctx)
        except (NotFound, UnusableVolume) as error:
            return ActionResult(Ocf.ERR_CONFIGURED, error.message)
        if not attach_required(ctx.kube, volume.driver):
            return ActionResult(
                Ocf.OK,
                f"driver {volume.driver} has attachRequired: false, so nothing but the node itself can cut it off: "
                "configure node level fencing",
            )
        return ActionResult(Ocf.OK)

    def other_actions(self) -> Mapping[str, Callable[[ActionContext], ActionResult]]:
        """``protect`` and ``release``, by which the controller keeps a claim from being deleted while it is managed."""
        return {"protect": self.protect, "release": self.release}

    def protect(self, ctx: ActionContext) -> ActionResult:
        """Put hamgr's finalizer on the claim; one that is being deleted takes none any more."""
        claim = access(ctx).kube.get(PVC.path(ctx.text("claim"), ctx.text("namespace")))
        finalizers = list(claim["metadata"].get("finalizers") or [])
        if FINALIZER not in finalizers and not is_terminating(claim):
            _set_finalizers(ctx, claim, [*finalizers, FINALIZER], ctx.cluster)
        return ActionResult(Ocf.OK)

    def release(self, ctx: ActionContext) -> ActionResult:
        """Take it off again, if this cluster has put it there."""
        try:
            claim = access(ctx).kube.get(PVC.path(ctx.text("claim"), ctx.text("namespace")))
        except NotFound:
            return ActionResult(Ocf.OK)
        finalizers = list(claim["metadata"].get("finalizers") or [])
        if FINALIZER in finalizers and annotations_of(claim).get(ANNOTATION_KEPT_BY) == ctx.cluster:
            _set_finalizers(ctx, claim, [name for name in finalizers if name != FINALIZER], None)
        return ActionResult(Ocf.OK)

    def _step_towards_bound(self, ctx: ActionContext) -> ActionResult | str:
        """Have a claim of a class that waits for its first consumer bound for this node, as the scheduler does."""
        needed = self._towards_bound(ctx)
        if isinstance(needed, Refuse):
            return ActionResult(Ocf.ERR_CONFIGURED, needed.why)
        if not needed.for_node:  # another node would fare no better
            return ActionResult(Ocf.ERR_GENERIC, needed.why, waiting=True)
        if needed.select:
            claim = needed.claim
            metadata = {"uid": uid_of(claim), "resourceVersion": revision_of(claim)}
            path = PVC.path(ctx.text("claim"), ctx.text("namespace"))
            access(ctx).kube.patch_merge(path, {"metadata": {**metadata, "annotations": {SELECTED_NODE: ctx.node}}})
        return needed.why

    def _towards_bound(self, ctx: ActionContext) -> Refuse | Await:
        kube = access(ctx).kube
        claim = kube.get(PVC.path(ctx.text("claim"), ctx.text("namespace")))
        name = str((claim.get("spec") or {}).get("storageClassName") or "")
        try:
            storage_class = kube.get(STORAGE_CLASS.path(name)) if name else None
        except NotFound:
            storage_class = None
        return towards_bound(claim, storage_class, ctx.node)

    def _step_towards_attached(self, ctx: ActionContext, volume: Volume) -> ActionResult | Due | str:
        kube = access(ctx).kube
        found = attachments(kube, volume)
        if (rival := self._rival(ctx, found)) is not None:
            why = f"{volume.pv} has another user: {rival}"
            return why if rival.leaving else ActionResult(Ocf.ERR_GENERIC, f"{why}; end that one first")
        if not attach_required(kube, volume.driver):
            return ActionResult(Ocf.OK, f"driver {volume.driver} attaches nothing: its volumes are only mounted")
        elsewhere = next((a for a in found if a.node != ctx.node), None)
        here = next((a for a in found if a.node == ctx.node), None)
        if elsewhere is not None:
            holder = self._holder(ctx, elsewhere)
            if holder:
                return ActionResult(Ocf.ERR_GENERIC, f"{volume.pv} cannot be attached to {ctx.node}: {holder}")
            self._take_back(ctx, volume, elsewhere)
            return f"{volume.pv} cannot be attached to {ctx.node}: {_where(elsewhere)}"
        if here is None:
            if (rest_s := self._name_rests_s(ctx, volume)) > 0:
                name = volume.attachment_name(ctx.node)
                return Due(f"VolumeAttachment {name} has just gone, and its controller may not know that yet", rest_s)
            self._create(ctx, volume)
        elif here.attached and not here.leaving:
            return ActionResult(Ocf.OK)
        said = here.attach_error if here else ""
        return f"driver {volume.driver} has not attached {volume.pv} to {ctx.node} yet{_said(said)}"

    def _rival(self, ctx: ActionContext, found: list[Attachment]) -> Rival | None:
        """A pod that keeps this node from having the disk, whether it is attached to that pod's node or not: any but
        those of ours on this very node (which `pod` judges), and those that are told to go from where it is attached.
        """
        pods = self._all_users(ctx)
        ours = instances_on(pods, ctx.cluster, ctx.node)
        elsewhere = {a.node for a in found} - {ctx.node}
        ours += [(namespace_of(pod), name_of(pod)) for pod in pods if node_of(pod) in elsewhere]  # `_holder` judges
        claims = [(ctx.text("namespace"), ctx.text("claim"))]
        judged = rivals(pods, claims, cluster=ctx.cluster, node=ctx.node, own=ours, attached=())
        return judged[0] if judged else None

    def _holder(self, ctx: ActionContext, attachment: Attachment) -> str:
        """Who keeps the disk on another node for good; empty: it will come free, or a parked pod was told to go."""
        users = [pod for pod in self._all_users(ctx) if node_of(pod) == attachment.node]
        for pod in users:
            if is_terminating(pod):
                continue
            if not is_parked(pod):
                return f"pod {name_of(pod)} uses it on {attachment.node}; stop that first, or fence {attachment.node}"
            delete_gracefully(access(ctx).kube, pod)
        return ""

    def _take_back(self, ctx: ActionContext, volume: Volume, left: Attachment) -> None:
        """Detach a disk that was left on a node (by the late request of a past leader, say) where no pod uses it, once
        that node is proved not to have it mounted: nobody else would ever do it."""
        if left.leaving or any(node_of(pod) == left.node for pod in self._all_users(ctx)):
            return
        if not why_held(ctx, volume, left.node):
            delete_attachment(access(ctx).kube, left.name, left.uid, left.revision)

    def _name_rests_s(self, ctx: ActionContext, volume: Volume) -> float:
        """Seconds until a new attachment to this node cannot be taken for its predecessor; 0 or less: now."""
        cache, name = access(ctx).cache, volume.attachment_name(ctx.node)
        if cache.get(VOLUME_ATTACHMENT, name) is not None:
            return _SEE_END_S
        gone = cache.departure(VOLUME_ATTACHMENT, name)
        return 0.0 if gone is None else name_settles_s(gone.leaving_s) - gone.gone_for_s

    def _create(self, ctx: ActionContext, volume: Volume) -> None:
        try:
            create_attachment(access(ctx).kube, volume, ctx.node)
        except AlreadyExists:
            return  # the attach-detach controller was faster

    def _step_towards_detach(self, ctx: ActionContext, volume: Volume) -> str:
        """Do what can be done now; what is still being waited for, empty at the end."""
        kube = access(ctx).kube
        here = next((a for a in attachments(kube, volume) if a.node == ctx.node), None)
        if here is not None and here.leaving:
            return f"the driver has not confirmed the detachment{_said(here.detach_error)}"
        if users := [pod for pod in self._all_users(ctx) if node_of(pod) == ctx.node]:
            return f"pod {name_of(users[0])} still uses it"
        if here is None and attach_required(kube, volume.driver):
            return ""
        node = _node(ctx) if here is not None else None  # before the judgement that it is to date
        if held := why_held(ctx, volume, ctx.node):
            return held
        if here is None:
            return ""
        if node is not None:
            remove_from_in_use(kube, node, volume)
        delete_attachment(kube, here.name, here.uid, here.revision)
        return "the driver has not confirmed the detachment"

    def _users(self, ctx: ActionContext) -> list[Obj]:
        return [pod for pod in self._all_users(ctx) if node_of(pod) == ctx.node and not is_parked(pod)]

    def _all_users(self, ctx: ActionContext) -> list[Obj]:
        """The pods that use the claim, as the API server has them now."""
        namespace = ctx.text("namespace")
        return users_of_claim(access(ctx).kube.list(POD.collection(namespace)).items, namespace, ctx.text("claim"))


def _volume(ctx: ActionContext) -> Volume:
    """The disk. Raises NotFound, UnusableVolume."""
    if ctx.text("pv"):
        return volume_named(ctx, ctx.text("pv"))
    return volume_behind(ctx, ctx.text("namespace"), ctx.text("claim"))


def _node(ctx: ActionContext) -> Obj | None:
    """The Node object as the API server has it now; None: somebody has deleted it."""
    try:
        return access(ctx).kube.get(NODE.path(ctx.node))
    except NotFound:
        return None


def _disks(ctx: ActionContext) -> tuple[list[Volume], str]:
    """The disk, and those that the claim had before it was deleted and made anew; why there is none."""
    namespace, claim = ctx.text("namespace"), ctx.text("claim")
    found: dict[str, Volume] = {}
    why_none = ""
    try:
        volume = _volume(ctx)
        found[volume.pv] = volume
    except (NotFound, UnusableVolume) as error:
        why_none = error.message
    for pv in access(ctx).cache.list(PV):
        held_for = (pv.get("spec") or {}).get("claimRef") or {}
        if (held_for.get("namespace"), held_for.get("name")) == (namespace, claim):
            try:
                found.setdefault(name_of(pv), volume_of(pv))
            except UnusableVolume as error:
                why_none = why_none or error.message
    return list(found.values()), why_none


def _why_not_attached(volume: Volume, node: str, found: Obj | None) -> str:
    """What is missing of an attachment to the node, None being that there is none; empty: nothing."""
    if found is None:
        return f"{volume.pv} is not attached to {node}"
    attachment = attachment_of(found)
    if attachment.leaving:
        return f"{volume.pv} is being detached from {node}"
    if not attachment.attached:
        said = attachment.attach_error or "its driver has not confirmed the attachment"
        return f"{volume.pv} is not attached to {node} yet: {said}"
    return ""


def _set_finalizers(ctx: ActionContext, claim: Obj, finalizers: list[str], kept_by: str | None) -> None:
    """Raises Conflict when the claim has changed since it was read."""
    metadata = {"uid": uid_of(claim), "resourceVersion": revision_of(claim), "finalizers": finalizers}
    annotations = {ANNOTATION_KEPT_BY: kept_by}
    path = PVC.path(name_of(claim), namespace_of(claim))
    access(ctx).kube.patch_merge(path, {"metadata": metadata | {"annotations": annotations}})


def _why_leaving(ctx: ActionContext) -> str:
    """That the claim is being deleted: its disk could be attached, and no kubelet would let a new pod have it."""
    claim = look_up(ctx, PVC, ctx.text("claim"), ctx.text("namespace")) if ctx.text("claim") else None
    if claim is None or not is_terminating(claim):
        return ""
    return f"claim {ctx.text('namespace')}/{ctx.text('claim')} is being deleted, and kubelets refuse new pods on it"


def _why_not_here(ctx: ActionContext, volume: Volume) -> str:
    """Why this node cannot have the disk, by the volume's node affinity (its zone, mostly); empty: it can."""
    pv, node = access(ctx).cache.get(PV, volume.pv), access(ctx).cache.get(NODE, ctx.node)
    barrier = "" if pv is None or node is None else why_not_for_volume(pv, node)
    return f"{volume.pv} cannot be attached to {ctx.node}: {barrier}" if barrier else ""


def _doubled(volume: Volume, others: list[Obj]) -> str:
    names = ", ".join(sorted(name_of(pv) for pv in others))
    return (
        f"{volume.pv} is the same disk as PersistentVolume {names} (driver {volume.driver}, handle {volume.handle}): "
        "Kubernetes takes them for two and attaches both; delete all but one of them"
    )


def _said(error: str) -> str:
    return f": {error}" if error else ""


def _where(other: Attachment) -> str:
    state = "is being detached" if other.leaving else "is still attached, though no pod uses it there,"
    return f"it {state} at {other.node} (VolumeAttachment {other.name}){_said(other.detach_error)}"
