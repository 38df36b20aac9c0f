"""What a DELETE does to an object: nothing yet, a mark, or its end.

The rules are those of kube-apiserver's generic registry (BeforeDelete and the handling of finalizers):

- A kind with graceful deletion (pods) gets a deletionTimestamp and its grace period; whoever runs the object ends it
  with a second DELETE of grace 0. A later request may only shorten the period.
- An object with finalizers gets a deletionTimestamp and stays until they are gone.
- The propagation policy adds a finalizer that the garbage collector works off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hamgr_sandbox.apiserver.clock import moved, timestamp
from hamgr_sandbox.apiserver.errors import ApiFailure, bad_request, precondition_failed
from hamgr_sandbox.apiserver.kinds import Kind

Obj = dict[str, Any]

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
_FINALIZER = {"Orphan": ORPHAN, "Foreground": FOREGROUND, "Background": None}


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """The options of one DELETE; `grace` is gracePeriodSeconds as asked for, None when not."""

    grace: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    policy: str | None = None
    dry_run: bool = False

    @staticmethod
    def parse(body: Obj | None, query: dict[str, str]) -> DeleteOptions:
        """From the body, or from the query when there is no body: a body wins even where it says nothing."""
        source: Obj = body if body is not None else dict(query)
        grace = source.get("gracePeriodSeconds")
        if isinstance(grace, str):
            if not grace.lstrip("-").isdigit():
                raise bad_request(f'strconv.ParseInt: parsing "{grace}": invalid syntax')
            grace = int(grace)
        preconditions = source.get("preconditions")
        if not isinstance(preconditions, dict):
            preconditions = {}
        policy = source.get("propagationPolicy")
        if policy is None and source.get("orphanDependents") is not None:
            policy = "Orphan" if source["orphanDependents"] in (True, "true") else "Background"
        if policy is not None and policy not in _FINALIZER:
            options = 'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: '
            supported = '"Foreground", "Background", "Orphan"'
            raise ApiFailure(422, "Invalid", f'{options}"{policy}": supported values: {supported}')
        dry_run = bool(source.get("dryRun") or query.get("dryRun"))
        version = preconditions.get("resourceVersion")
        return DeleteOptions(grace, preconditions.get("uid"), version, policy, dry_run)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the object. "wait": it stays as it is; "mark": store `obj`; "remove": delete it, and store
    `obj` before when there is one (a grace of 0 is seen as a change before the deletion)."""

    outcome: Literal["wait", "mark", "remove"]
    obj: Obj | None = None


def check_preconditions(kind: Kind, obj: Obj, options: DeleteOptions) -> None:
    """Raises ApiFailure 409 when the object is not the one that was meant."""
    metadata = obj["metadata"]
    if options.uid is not None and options.uid != metadata["uid"]:
        raise precondition_failed(
            kind,
            metadata["name"],
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated",
        )
    if options.resource_version is not None and options.resource_version != metadata["resourceVersion"]:
        raise precondition_failed(
            kind,
            metadata["name"],
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({metadata['resourceVersion']}). The object might have been modified",
        )


def decide(kind: Kind, obj: Obj, options: DeleteOptions) -> Verdict:
    """The verdict on a DELETE; pure but for the clock. Preconditions are checked before."""
    metadata = obj["metadata"]
    finalizers = _finalizers_for(metadata, options)
    held = bool(finalizers) or kind.strategy.held(obj)
    if kind.strategy.grace is None:
        if not held:
            return Verdict("remove")
        marked = _marked(obj, finalizers, grace=0, first="deletionTimestamp" not in metadata)
        return Verdict("mark", kind.strategy.terminating(marked))
    if "deletionTimestamp" in metadata:
        return _decide_again(obj, options, finalizers)
    grace = kind.strategy.grace(obj, options.grace)
    marked = _marked(obj, finalizers, grace, first=True)
    return Verdict("mark", marked) if held or grace > 0 else Verdict("remove", marked)


def _decide_again(obj: Obj, options: DeleteOptions, finalizers: list[str]) -> Verdict:
    """An object that is being deleted gracefully already: the period may only shrink."""
    metadata = obj["metadata"]
    current = metadata.get("deletionGracePeriodSeconds")
    if current is None:
        return Verdict("mark" if finalizers else "remove", obj if finalizers else None)
    if options.grace is None:
        return Verdict("wait")
    asked = 1 if options.grace < 0 else options.grace
    if asked >= current:
        # Nothing is left to shorten; at 0 only finalizers keep the object, and who removes them ends it.
        return Verdict("wait") if finalizers or current > 0 else Verdict("remove")
    changed = {**metadata, "deletionTimestamp": moved(metadata["deletionTimestamp"], asked - current)}
    changed["deletionGracePeriodSeconds"] = asked
    shortened = {**obj, "metadata": changed}
    return Verdict("mark", shortened) if finalizers or asked > 0 else Verdict("remove", shortened)


def _finalizers_for(metadata: Obj, options: DeleteOptions) -> list[str]:
    present = list(metadata.get("finalizers") or [])
    if options.policy is None:
        return present
    kept = [one for one in present if one not in (ORPHAN, FOREGROUND)]
    added = _FINALIZER[options.policy]
    return [*kept, added] if added else kept


def _marked(obj: Obj, finalizers: list[str], grace: int, *, first: bool) -> Obj:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "finalizers"}
    if finalizers:
        metadata["finalizers"] = finalizers
    if first:
        metadata["deletionTimestamp"] = timestamp(grace)
        metadata["deletionGracePeriodSeconds"] = grace
        if metadata.get("generation"):
            metadata["generation"] += 1
    return {**obj, "metadata": metadata}


def ends_with_update(kind: Kind, new: Obj) -> bool:
    """An update that takes away the last finalizer of an object whose grace is over deletes it."""
    metadata = new["metadata"]
    ended = "deletionTimestamp" in metadata and not metadata.get("finalizers")
    return ended and not metadata.get("deletionGracePeriodSeconds") and not kind.strategy.held(new)
