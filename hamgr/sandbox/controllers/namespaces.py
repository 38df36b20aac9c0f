"""What every namespace begins with (a default service account, the cluster's CA), and how it is emptied at its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from hamgr.sandbox.client import ApiError, Key, Object, key_of
from hamgr.sandbox.controllers import objects
from hamgr.sandbox.controllers.cluster import Cluster
from hamgr.sandbox.controllers.workqueue import WorkQueue

_CA_CONFIG_MAP = "kube-root-ca.crt"
_EMPTYING_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Contents:
    """What new namespaces get: the CA's certificate as PEM text, which pods mount beside their token."""

    root_ca: str = ""

    @staticmethod
    def from_file(path: Path | None) -> Contents:
        """Raises OSError."""
        return Contents(path.read_text() if path else "")


class Namespaces:
    """One key is one namespace, for each of the two queues."""

    def __init__(self, cluster: Cluster, contents: Contents) -> None:
        self._cluster = cluster
        self._contents = contents
        self._namespaces = cluster.watch("Namespace")
        self._accounts = cluster.watch("ServiceAccount")
        self._config_maps = cluster.watch("ConfigMap")
        self._beginnings: WorkQueue[Key] = WorkQueue("namespace contents", self._begin)
        self._ends: WorkQueue[Key] = WorkQueue("namespace deletion", self._end)
        self._namespaces.listeners.append(self._namespace_changed)
        for informer in (self._accounts, self._config_maps):
            informer.listeners.append(self._content_changed)

    async def run(self) -> None:
        await asyncio.gather(self._beginnings.run(), self._ends.run())

    def _namespace_changed(self, kind: str, namespace: Object, _: Object | None) -> None:
        if kind != "DELETED":
            (self._ends if objects.is_terminating(namespace) else self._beginnings).add(key_of(namespace))

    def _content_changed(self, kind: str, item: Object, _: Object | None) -> None:
        if kind == "DELETED":
            self._beginnings.add(("", item["metadata"]["namespace"]))

    async def _begin(self, key: Key) -> None:
        name = key[1]
        namespace = self._namespaces.items.get(key)
        if namespace is None or objects.is_terminating(namespace):
            return
        wanted = (
            (self._accounts, "ServiceAccount", {"metadata": {"name": "default", "namespace": name}}),
            (
                self._config_maps,
                "ConfigMap",
                {"metadata": {"name": _CA_CONFIG_MAP, "namespace": name}, "data": {"ca.crt": self._contents.root_ca}},
            ),
        )
        for informer, kind, body in wanted:
            if key_of(body) not in informer.items:
                try:
                    await self._cluster.create(kind, name, {"apiVersion": "v1", "kind": kind, **body})
                except ApiError as error:
                    if error.reason != "AlreadyExists":
                        raise

    async def _end(self, key: Key) -> None:
        namespace = self._namespaces.items.get(key)
        if namespace is None or "kubernetes" not in (namespace["spec"].get("finalizers") or []):
            return
        if await self._empty(key[1]):
            finalizers = [entry for entry in namespace["spec"]["finalizers"] if entry != "kubernetes"]
            body = {**namespace, "spec": {**namespace["spec"], "finalizers": finalizers}}
            await self._cluster.client.put(f"/api/v1/namespaces/{key[1]}/finalize", body)
        else:
            self._ends.add_after(key, _EMPTYING_RETRY_S)

    async def _empty(self, name: str) -> bool:
        """Delete all that is in the namespace, whatever its kind; True when nothing was left."""
        empty = True
        for path in await self._collections(name):
            for item in (await self._cluster.client.list(path))["items"]:
                empty = False
                if not objects.is_terminating(item):
                    try:
                        await self._cluster.client.delete(f"{path}/{item['metadata']['name']}")
                    except ApiError as error:
                        if error.code != 404:
                            raise
        return empty

    async def _collections(self, name: str) -> list[str]:
        """The paths of all namespaced kinds that can be listed and deleted, as discovery tells them."""
        groups = (await self._cluster.client.get("/apis"))["groups"]
        bases = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
        found = []
        for base in bases:
            for resource in (await self._cluster.client.get(base))["resources"]:
                verbs = set(resource.get("verbs") or [])
                if resource.get("namespaced") and "/" not in resource["name"] and {"list", "delete"} <= verbs:
                    found.append(f"{base}/namespaces/{name}/{resource['name']}")
        return found
