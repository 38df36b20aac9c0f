"""What a cluster does with namespaces, volumes in use and disruption budgets, in the place of its controllers.

- A new namespace gets its default service account and the root certificate; a deleted one goes with all that is in it.
- A claim goes when no pod uses it any more, a volume when no claim does (their protection finalizers).
- A disruption budget's status says how many of its pods may go.
"""

from __future__ import annotations

import contextlib
from typing import Any

from hamgr_sandbox.apiserver import selectors, subresources
from hamgr_sandbox.apiserver.deletion import DeleteOptions
from hamgr_sandbox.apiserver.errors import ApiFailure
from hamgr_sandbox.apiserver.kinds import Kind
from hamgr_sandbox.apiserver.registry import Registry, WriteOptions
from hamgr_sandbox.apiserver.storage import Event
from hamgr_sandbox.apiserver.volumes import CLAIM_PROTECTION, VOLUME_PROTECTION

Obj = dict[str, Any]

_QUIET = WriteOptions(manager="kube-controller-manager")
_NAMESPACES, _PODS, _CLAIMS = "/namespaces", "/pods", "/persistentvolumeclaims"
_VOLUMES, _BUDGETS = "/persistentvolumes", "policy/poddisruptionbudgets"


def _deleted(obj: Obj | None) -> bool:
    return obj is not None and "deletionTimestamp" in obj["metadata"]


class Lifecycle:
    """Acts on each event; `root_certificate` is what pods are told to trust ("" without TLS)."""

    def __init__(self, registry: Registry, root_certificate: str = "") -> None:
        self._registry = registry
        self._root_certificate = root_certificate

    def handle(self, stored_as: str, event: Event) -> None:
        """React to one change."""
        namespace = event.key[0]
        if stored_as == _NAMESPACES and event.new is not None:
            if _deleted(event.new):
                self._empty(event.key[1])
            elif event.old is None:
                self.furnish(event.key[1])
        if event.new is None and namespace and _deleted(self._namespace(namespace)):
            self._empty(namespace)
        if stored_as in (_PODS, _CLAIMS):
            self._release_claims(namespace)
        if stored_as in (_VOLUMES, _CLAIMS):
            self._release_volumes()
        if stored_as in (_PODS, _BUDGETS):
            self._count_budgets(namespace)

    def _kind(self, version: str, kind: str) -> Kind:
        found = self._registry.catalog.by_kind(version, kind)
        assert found is not None
        return found

    def _namespace(self, name: str) -> Obj | None:
        return self._registry.storage.get(_NAMESPACES, ("", name))

    def furnish(self, namespace: str) -> None:
        """Give a namespace what each has."""
        account: Obj = {"metadata": {"name": "default"}}
        certificate: Obj = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": self._root_certificate}}
        with contextlib.suppress(ApiFailure):  # a user was faster, or the namespace is going already
            self._registry.create(self._kind("v1", "ServiceAccount"), namespace, account, _QUIET)
        with contextlib.suppress(ApiFailure):
            self._registry.create(self._kind("v1", "ConfigMap"), namespace, certificate, _QUIET)

    def _empty(self, namespace: str) -> None:
        """Delete what is left in a namespace; the namespace itself when nothing is."""
        left = False
        for kind in self._registry.catalog.stored():
            if not kind.namespaced:
                continue
            for obj in self._registry.storage.items(kind.stored_as, namespace):
                if not _deleted(obj):
                    with contextlib.suppress(ApiFailure):
                        self._registry.delete(kind, namespace, obj["metadata"]["name"], DeleteOptions())
                left = (
                    left or self._registry.storage.get(kind.stored_as, (namespace, obj["metadata"]["name"])) is not None
                )
        found = self._namespace(namespace)
        if not left and found is not None:
            kind = self._kind("v1", "Namespace")
            finalized = {**found, "spec": {}}
            self._registry.overwrite(kind, finalized, _QUIET)

    def _release_claims(self, namespace: str) -> None:
        waiting = [one for one in self._registry.storage.items(_CLAIMS, namespace) if _deleted(one)]
        if not waiting:
            return
        used = {
            (volume.get("persistentVolumeClaim") or {}).get("claimName")
            for pod in self._registry.storage.items(_PODS, namespace)
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
            for volume in pod["spec"].get("volumes") or []
        }
        for claim in waiting:
            if claim["metadata"]["name"] not in used:
                self._drop_finalizer("PersistentVolumeClaim", claim, CLAIM_PROTECTION)

    def _release_volumes(self) -> None:
        for volume in self._registry.storage.items(_VOLUMES):
            if _deleted(volume) and (volume.get("status") or {}).get("phase") != "Bound":
                self._drop_finalizer("PersistentVolume", volume, VOLUME_PROTECTION)

    def _drop_finalizer(self, kind: str, obj: Obj, finalizer: str) -> None:
        finalizers = obj["metadata"].get("finalizers") or []
        if finalizer in finalizers:
            metadata = {key: value for key, value in obj["metadata"].items() if key != "finalizers"}
            if rest := [one for one in finalizers if one != finalizer]:
                metadata["finalizers"] = rest
            self._registry.overwrite(self._kind("v1", kind), {**obj, "metadata": metadata}, _QUIET)

    def _count_budgets(self, namespace: str) -> None:
        budgets = self._registry.storage.items(_BUDGETS, namespace)
        if not budgets:
            return
        pods = self._registry.storage.items(_PODS, namespace)
        for budget in budgets:
            selector = selectors.from_object(budget["spec"].get("selector"))
            chosen = [one for one in pods if selector and selector.matches(one["metadata"].get("labels"))]
            allowed, desired, healthy = subresources.disruptions_allowed(budget, chosen)
            status = {
                **budget["status"],
                "disruptionsAllowed": allowed,
                "currentHealthy": healthy,
                "desiredHealthy": desired,
                "expectedPods": len(chosen),
                "observedGeneration": budget["metadata"].get("generation", 1),
            }
            if status != budget["status"]:
                kind = self._kind("policy/v1", "PodDisruptionBudget")
                self._registry.overwrite(kind, {**budget, "status": status}, _QUIET)
