"""The node's own HTTP port: logs of containers (``kubectl logs``), health, and what runs here.

Plain HTTP without authentication: in a sandbox only the API server and the cluster manager's probes come here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from hamgr_sandbox.node.worker import log_directory

Json = dict[str, Any]
FindPod = Callable[[str, str], Json | None]
_POLL_S = 0.1
_CHUNK = 65536


class Server:
    """``find`` looks a pod of this node up by namespace and name; ``pods`` lists them all."""

    def __init__(self, root: Path, find: FindPod, pods: Callable[[], list[Json]]) -> None:
        self._root = root
        self._find = find
        self._pods = pods
        self._runner: web.AppRunner | None = None

    async def listen(self, address: str, port: int) -> int:
        """Serve at this address; 0 picks a free port. Returns the port."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", _healthy),
                web.get("/pods", self._list_pods),
                web.get("/containerLogs/{namespace}/{pod}/{container}", self._logs),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port, shutdown_timeout=0.5)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _list_pods(self, _: web.Request) -> web.Response:
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "items": self._pods()})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        namespace, name, container = (request.match_info[key] for key in ("namespace", "pod", "container"))
        pod = self._find(namespace, name)
        if pod is None:
            return web.Response(status=404, text=f'pod "{name}" not found\n')
        names = [c["name"] for c in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]]
        if container not in names:
            return web.Response(status=400, text=f"container {container} is not valid for pod {name}\n")
        files = _runs(log_directory(self._root, pod) / container)
        if _flag(request, "previous"):
            files = files[:-1]
        if not files:
            what = "previous terminated container" if _flag(request, "previous") else "container"
            return web.Response(status=400, text=f'{what} "{container}" in pod "{name}" has no log\n')
        return await self._stream(request, files[-1])

    async def _stream(self, request: web.Request, path: Path) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        left = int(request.query.get("limitBytes") or 1 << 62)
        with path.open("rb") as file:
            file.seek(tail_offset(path, request.query.get("tailLines")))
            while True:
                data = file.read(min(_CHUNK, left))
                left -= len(data)
                if data:
                    await response.write(data)
                elif _flag(request, "follow") and left > 0 and path.exists() and path == _runs(path.parent)[-1]:
                    await asyncio.sleep(_POLL_S)
                else:
                    break
        await response.write_eof()
        return response


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() in ("true", "1")


def _runs(folder: Path) -> list[Path]:
    """The logs of a container's runs, oldest first."""
    return sorted(folder.glob("*.log"), key=lambda path: int(path.stem))


def tail_offset(path: Path, lines: str | None) -> int:
    """Where the last ``lines`` lines of a file begin; 0 without a number."""
    if lines is None or lines == "" or int(lines) < 0:
        return 0
    if int(lines) == 0:
        return path.stat().st_size
    offsets: deque[int] = deque(maxlen=int(lines))
    position = 0
    with path.open("rb") as file:
        for line in file:
            offsets.append(position)
            position += len(line)
    return offsets[0] if offsets else 0
