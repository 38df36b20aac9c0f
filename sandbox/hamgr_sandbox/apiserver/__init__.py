"""A stand-in Kubernetes API server: real clients over real HTTP, objects in memory, one asyncio process.

    python -m hamgr_sandbox.apiserver --listen 127.0.0.1:8001

In tests, in the same event loop:

    server = ApiServer()
    async with running(server, [Listener("127.0.0.1")]) as (url,):
        ...

or in a thread of its own, for blocking clients such as the official one or kubectl:

    with in_thread() as url:
        ...
"""

from __future__ import annotations

from hamgr_sandbox.apiserver.server import ApiServer, Listener, Settings, running
from hamgr_sandbox.apiserver.threaded import in_thread

__all__ = ["ApiServer", "Listener", "Settings", "in_thread", "running"]
