"""Look at a sandbox from outside, as its user would: etcd over its JSON gateway, Kubernetes over its API."""

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from hamgr_sandbox.client import ApiError, Client
from hamgr_sandbox.layout import CLUSTER_NAME

_PREFIX = f"/hamgr/{CLUSTER_NAME}/"
_NOT_READY = "node.kubernetes.io/not-ready"
_TIMEOUT = aiohttp.ClientTimeout(total=1.0)


@dataclass(frozen=True, slots=True)
class View:
    """What answers right now. `nodes`: whether each is of use to the scheduler. `members`: where hamgrd has joined."""

    etcd: bool = False
    api: bool = False
    nodes: dict[str, bool] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    leader: str = ""


def look(kubeconfig: Path, etcd: Sequence[str]) -> View:
    """One look at everything; takes at most a second when nothing answers."""
    return asyncio.run(_look(kubeconfig, etcd))


async def _look(kubeconfig: Path, etcd: Sequence[str]) -> View:
    nodes, keys = await asyncio.gather(_nodes(kubeconfig), _keys(etcd))
    members = frozenset(key.rpartition("/")[2] for key in keys or {} if key.startswith(f"{_PREFIX}members/"))
    leader = str((keys or {}).get(f"{_PREFIX}leader", {}).get("node", ""))
    return View(keys is not None, nodes is not None, nodes or {}, members, leader)


async def _nodes(kubeconfig: Path) -> dict[str, bool] | None:
    """Names of the Nodes and whether they are Ready; None when no API server answers."""
    try:
        async with Client.from_kubeconfig(kubeconfig, timeout_s=1.0) as client:
            listed = await client.list("/api/v1/nodes")
    except ApiError:
        return None
    return {node["metadata"]["name"]: _is_ready(node) for node in listed["items"]}


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    taints = node.get("spec", {}).get("taints", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions) and not any(
        taint["key"] == _NOT_READY for taint in taints
    )


async def _keys(endpoints: Sequence[str]) -> dict[str, dict[str, Any]] | None:
    """Leader and members as hamgr keeps them in etcd; None when no member of etcd answers."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for endpoint in endpoints:
            try:
                return {**await _range(session, endpoint, "leader"), **await _range(session, endpoint, "members/")}
            except (aiohttp.ClientError, TimeoutError, ValueError):
                continue
    return None


async def _range(session: aiohttp.ClientSession, endpoint: str, key: str) -> dict[str, dict[str, Any]]:
    first = (_PREFIX + key).encode()
    last = first[:-1] + bytes([first[-1] + 1])  # the end of all keys that begin so
    query = {"key": base64.b64encode(first).decode(), "range_end": base64.b64encode(last).decode()}
    async with session.post(f"{endpoint}/v3/kv/range", json=query) as response:
        response.raise_for_status()
        answer = json.loads(await response.text())
    return {
        base64.b64decode(each["key"]).decode(): json.loads(base64.b64decode(each.get("value", "")) or b"{}")
        for each in answer.get("kvs", [])
    }


def load_balancer_address(kubeconfig: Path, service: str, namespace: str) -> tuple[str, int] | None:
    """Address and first port of a Service of type LoadBalancer; None while it has no address. Raises ApiError."""
    found = read(kubeconfig, f"/api/v1/namespaces/{namespace}/services/{service}")
    ingress = found.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
    address = ingress[0].get("ip")
    return (str(address), int(found["spec"]["ports"][0]["port"])) if address else None


def read(kubeconfig: Path, path: str) -> dict[str, Any]:
    """One object of the Kubernetes API, by its path. Raises ApiError."""
    return asyncio.run(_get(kubeconfig, path))


async def _get(kubeconfig: Path, path: str) -> dict[str, Any]:
    async with Client.from_kubeconfig(kubeconfig, timeout_s=5.0) as client:
        return await client.get(path)
