"""The load balancer over real sockets: ready pods get the connections, pods that leave lose theirs at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import pytest
from fixtures.control_plane import until
from hamgr_sandbox.apiserver.server import ApiServer, running
from hamgr_sandbox.balancer import Balancer, ingress_of
from hamgr_sandbox.client import Access, Client, Object

SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
SERVICES = "/api/v1/namespaces/default/services"
POOL = ["127.93.0.1", "127.93.0.2"]
PORT = 23306


@dataclass
class DemoCluster:
    client: Client
    balancer: asyncio.Task[None]

    async def publish(self, *ready: tuple[str, int]) -> None:
        """What the EndpointSlice controller would write: one slice a backend, its port being its own."""
        for item in (await self.client.list(SLICES))["items"]:
            await self.client.delete(f"{SLICES}/{item['metadata']['name']}")
        for (address, port), number in zip(ready, count(), strict=False):
            await self.client.post(
                SLICES,
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {"name": f"db-{number}", "labels": {"kubernetes.io/service-name": "db"}},
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
                    "ports": [{"name": "", "protocol": "TCP", "port": port}],
                },
            )

    async def address(self, name: str = "db") -> str:
        async def given() -> str:
            return ingress_of(await self.client.get(f"{SERVICES}/{name}"))

        return str(await until("an address", given))


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A database speaks first; then an echo that says goodbye when the client has said all."""
    writer.write(b"hello\n")
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye\n")
    writer.close()


async def serve_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await greet(reader, writer)


@asynccontextmanager
async def backend(host: str = "127.0.0.1") -> AsyncIterator[tuple[str, int]]:
    server = await asyncio.start_server(serve_greeting, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[:2]


def service(name: str = "db") -> Object:
    spec = {"type": "LoadBalancer", "ports": [{"port": PORT}], "selector": {"app": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def play(story: Callable[[DemoCluster], Awaitable[None]]) -> None:
    async def perform() -> None:
        async with running(ApiServer()) as (url,), Client(Access(url)) as client:
            task = asyncio.create_task(Balancer(client, POOL).run())
            try:
                await client.post(SERVICES, service())
                await story(DemoCluster(client, task))
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(perform())


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that a backend has answered; refused and reset ones are tried again."""

    async def answered() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            reader, writer = await asyncio.open_connection(address, PORT)
            return (reader, writer) if await reader.readline() == b"hello\n" else None
        except ConnectionError:
            return None

    reader, writer = await until("a connection", answered)
    return reader, writer


async def listens(address: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, PORT)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


def test_carries_both_ways_and_half_closes() -> None:
    async def story(stage: DemoCluster) -> None:
        async with backend() as where:
            await stage.publish(where)
            reader, writer = await connect(await stage.address())
            sent = bytes(range(256)) * 8192  # more than any buffer on the way
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == sent + b"bye\n"
            writer.close()

    play(story)


def test_a_client_of_an_endpoint_that_leaves_is_cut_off_at_once() -> None:
    async def story(stage: DemoCluster) -> None:
        async with backend() as old, backend() as new:
            await stage.publish(old)
            reader, writer = await connect(await stage.address())
            await stage.publish(new)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()
            _, writer = await connect(await stage.address())
            writer.close()

    play(story)


def test_without_a_ready_endpoint_nobody_is_kept_waiting() -> None:
    async def story(stage: DemoCluster) -> None:
        address = await stage.address()
        await until("it listens", lambda: listens(address))
        reader, _ = await asyncio.open_connection(address, PORT)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(1), 5)

    play(story)


def test_a_backend_that_refuses_is_passed_over() -> None:
    async def story(stage: DemoCluster) -> None:
        async with backend() as gone:
            pass
        async with backend() as alive:
            await stage.publish(gone, alive)
            address = await stage.address()
            for _ in range(4):
                _, writer = await connect(address)
                writer.close()

    play(story)


def test_each_service_has_an_address_of_its_own_until_it_goes() -> None:
    async def story(stage: DemoCluster) -> None:
        await stage.client.post(SERVICES, service("web"))
        first, second = await stage.address(), await stage.address("web")
        assert {first, second} == set(POOL)
        await stage.client.delete(f"{SERVICES}/db")

        async def refused() -> bool:
            return not await listens(first)

        await until("nobody listens any more", refused)
        await stage.client.post(SERVICES, service("third"))
        assert await stage.address("third") == first

    play(story)


def test_a_restarted_balancer_gives_each_service_its_own_address_back() -> None:
    async def story(stage: DemoCluster) -> None:
        await stage.client.post(SERVICES, service("web"))
        before = await stage.address(), await stage.address("web")
        stage.balancer.cancel()
        await asyncio.gather(stage.balancer, return_exceptions=True)
        again = asyncio.create_task(Balancer(stage.client, list(reversed(POOL))).run())
        async with backend() as where:
            await stage.publish(where)
            _, writer = await connect(before[0])
            writer.close()
        assert (await stage.address(), await stage.address("web")) == before
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)

    play(story)
