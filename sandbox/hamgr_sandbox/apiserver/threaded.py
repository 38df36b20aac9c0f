"""A server in a thread of its own, for tests that use blocking clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future

from hamgr_sandbox.apiserver.server import DEFAULTS, LOOPBACK, ApiServer, Listener, Settings, running


@contextlib.contextmanager
def in_thread(settings: Settings = DEFAULTS, listener: Listener = LOOPBACK) -> Iterator[str]:
    """Serve from another thread while the context lasts; yields the URL."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        done = asyncio.Event()
        try:
            async with running(ApiServer(settings), [listener]) as (url,):
                started.set_result((url, asyncio.get_running_loop(), done))
                await done.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="apiserver", daemon=True)
    thread.start()
    url, loop, done = started.result(timeout=30)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(timeout=10)
