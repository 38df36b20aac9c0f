"""Carry out probes: run a command in the container, open a connection, ask over HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp

from hamgr_sandbox.node.containers import CommandResult, RuntimeFailed
from hamgr_sandbox.node.probes import Answer, Probe, port_number
from hamgr_sandbox.node.runtime import TIMED_OUT

Json = dict[str, Any]
RunCommand = Callable[[list[str], float], Awaitable[CommandResult]]


async def ask(probe: Probe, container: Json, pod_ip: str, run: RunCommand) -> Answer:
    """One answer. Never raises: whatever goes wrong is a failure of the probe, told in the words of a kubelet."""
    try:
        if "exec" in probe.handler:
            return await _execute(probe, run)
        if "tcpSocket" in probe.handler:
            handler = probe.handler["tcpSocket"]
            return await dial(handler.get("host") or pod_ip, port_number(handler["port"], container), probe.timeout_s)
        if "httpGet" in probe.handler:
            return await fetch(probe.handler["httpGet"], container, pod_ip, probe.timeout_s)
    except (ValueError, KeyError) as error:
        return Answer(False, str(error))
    return Answer(False, f"missing probe handler: the sandbox knows exec, tcpSocket and httpGet, not {probe.handler}")


async def _execute(probe: Probe, run: RunCommand) -> Answer:
    command = probe.handler["exec"].get("command") or []
    try:
        result = await run(command, probe.timeout_s)
    except RuntimeFailed as error:
        return Answer(False, str(error))
    if result.exit_code == TIMED_OUT:
        return Answer(False, f"command timed out: {' '.join(command)!r} timed out after {probe.timeout_s:g}s")
    return Answer(result.exit_code == 0, result.output)


async def dial(host: str, port: int, timeout_s: float) -> Answer:
    """Whether a TCP connection can be opened."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Answer(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Answer(False, f"dial tcp {host}:{port}: connect: {os.strerror(error.errno or 0).lower()}")
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return Answer(True)


async def fetch(handler: Json, container: Json, pod_ip: str, timeout_s: float) -> Answer:
    """Whether an HTTP GET is answered with a code from 200 to 399. Certificates are not checked, as by kubelets."""
    host = handler.get("host") or pod_ip
    url = f"{(handler.get('scheme') or 'HTTP').lower()}://{host}:{port_number(handler['port'], container)}"
    path = "/" + (handler.get("path") or "/").lstrip("/")
    headers = {each["name"]: each["value"] for each in handler.get("httpHeaders") or []}
    headers.setdefault("User-Agent", "kube-probe/1.36")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
            session.get(url + path, headers=headers, ssl=False, allow_redirects=False) as response,
        ):
            if 200 <= response.status < 400:
                return Answer(True)
            return Answer(False, f"HTTP probe failed with statuscode: {response.status}")
    except TimeoutError:
        return Answer(False, f'Get "{url}{path}": context deadline exceeded')
    except (aiohttp.ClientError, OSError) as error:
        return Answer(False, f'Get "{url}{path}": {error}')
