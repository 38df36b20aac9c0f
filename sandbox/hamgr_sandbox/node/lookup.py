"""Look up what pods refer to (claims, Secrets, ConfigMaps), and remember it for when the API server is away."""

from __future__ import annotations

from typing import Any

from hamgr_sandbox.client import ApiError, Client
from hamgr_sandbox.node.environment import MissingReference, Sources, references

Json = dict[str, Any]


class Lookup:
    """Objects as the API server has them now; their last known state while it does not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._last: dict[str, Json] = {}

    async def claim(self, namespace: str, name: str) -> Json:
        """A PersistentVolumeClaim. Raises MissingReference, ApiError."""
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
        return await self._existing(path, f'persistentvolumeclaim "{name}" not found')

    async def volume(self, name: str) -> Json:
        """A PersistentVolume. Raises MissingReference, ApiError."""
        return await self._existing(f"/api/v1/persistentvolumes/{name}", f'persistentvolume "{name}" not found')

    async def sources(self, pod: Json) -> Sources:
        """The Secrets and ConfigMaps that a pod mentions; those that do not exist are left out. Raises ApiError."""
        secrets, config_maps = references(pod)
        base = f"/api/v1/namespaces/{pod['metadata']['namespace']}"
        return Sources(
            {name: found for name in secrets if (found := await self._get(f"{base}/secrets/{name}"))},
            {name: found for name in config_maps if (found := await self._get(f"{base}/configmaps/{name}"))},
        )

    async def _existing(self, path: str, otherwise: str) -> Json:
        found = await self._get(path)
        if found is None:
            raise MissingReference(otherwise)
        return found

    async def _get(self, path: str) -> Json | None:
        try:
            self._last[path] = await self._client.get(path)
        except ApiError as error:
            if error.code == 404:
                self._last.pop(path, None)
                return None
            if path not in self._last:
                raise
        return self._last[path]
