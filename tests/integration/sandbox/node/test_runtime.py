"""The container runtime by itself: what becomes of a signal that comes too soon."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from hamgr_sandbox.node.containers import Containers, stop_runtime
from hamgr_sandbox.node.isolation import Process
from hamgr_sandbox.node.runtime import Container

pytestmark = pytest.mark.root

_SLOW_TO_LISTEN = (
    "import signal, sys, time; time.sleep(0.5);"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('listening', flush=True); signal.pause()"
)


@pytest.mark.timeout(60)
def test_a_container_that_is_asked_to_end_before_it_listens_ends_when_it_does(tmp_path: Path) -> None:
    """The kernel drops a signal for the first process of a namespace that has no handler yet: it was killed only at
    the end of its grace period."""
    if os.geteuid() != 0:
        pytest.skip("a process namespace needs root")

    async def play() -> int | None:
        ended: asyncio.Future[Container] = asyncio.get_running_loop().create_future()
        containers = Containers(tmp_path, ended.set_result, isolate=True)
        await containers.connect()
        process = Process((sys.executable, "-S", "-c", _SLOW_TO_LISTEN), {})
        started = await containers.start(
            process, id="c", pod_uid="u", namespace="default", pod="p", name="main", attempt=0, log=tmp_path / "log"
        )
        await containers.signal(started.id, signal.SIGTERM)
        try:
            return (await ended).exit_code
        finally:
            await containers.close()

    try:
        assert asyncio.run(play()) == 7
        assert (tmp_path / "log").read_text() == "listening\n"
    finally:
        stop_runtime(tmp_path)
