"""The log of a container, fetched from the agent of the pod's node.

A kubelet serves it at /containerLogs/NAMESPACE/POD/CONTAINER on the port that the node reports in
status.daemonEndpoints; the sandbox's agents do so over plain HTTP.
"""

from __future__ import annotations

from typing import Any

import aiohttp
from aiohttp import web

from hamgr_sandbox.apiserver.errors import ApiFailure, bad_request
from hamgr_sandbox.apiserver.kinds import Kind
from hamgr_sandbox.apiserver.registry import Registry

Obj = dict[str, Any]

CONNECT_TIMEOUT_S = 5.0


def container_of(pod: Obj, asked: str) -> str:
    """The container meant; raises ApiFailure 400 when that is not clear."""
    name = pod["metadata"]["name"]
    listed = [one["name"] for one in pod["spec"]["containers"]]
    initial = [one["name"] for one in pod["spec"].get("initContainers") or []]
    if asked:
        if asked not in (*listed, *initial):
            raise bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(listed) > 1:
        choices = " ".join(listed)
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{choices}]")
    return str(listed[0])


def agent_url(node: Obj) -> str:
    """Where the node's agent listens; raises ApiFailure 500 when the node does not say."""
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    found = [one["address"] for one in node["status"].get("addresses") or [] if one["type"] == "InternalIP"]
    if not port or not found:
        raise _unreachable(node["metadata"]["name"], "it reports no address and port of its agent")
    return f"http://{found[0]}:{port}"


def _unreachable(node: str, why: str) -> ApiFailure:
    return ApiFailure(500, "InternalError", f"the log cannot be fetched from node {node}: {why}")


async def stream_log(
    request: web.Request, registry: Registry, kind: Kind, namespace: str, name: str
) -> web.StreamResponse:
    """Pass the log through, following it if asked to. Raises ApiFailure."""
    pod = registry.get(kind, namespace, name)
    container = container_of(pod, request.query.get("container", ""))
    node_name = pod["spec"].get("nodeName")
    if not node_name:
        raise bad_request(f'container "{container}" in pod "{name}" is not available: the pod has no node yet')
    nodes = registry.catalog.find("", "v1", "nodes")
    assert nodes is not None
    url = f"{agent_url(registry.get(nodes, '', node_name))}/containerLogs/{namespace}/{name}/{container}"
    query = {key: value for key, value in request.query.items() if key != "container"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, params=query) as upstream:
            if upstream.status != 200:
                raise ApiFailure(upstream.status, "BadRequest", (await upstream.text()).strip())
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response
    except (TimeoutError, aiohttp.ClientConnectorError) as error:
        raise _unreachable(node_name, f"{url} does not answer ({error})") from error
