"""The load balancer: gives each Service of type LoadBalancer an address and carries its TCP connections to ready pods.

A connection lives no longer than its endpoint: when the EndpointSlices stop calling a pod ready, its clients are cut
off at once and reconnect, which then leads them to the pod that took over.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import itertools
import logging
import socket
import struct
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from hamgr_sandbox.client import ApiError, Client, Informer, Key, KubeconfigError, Object, all_synced, key_of
from hamgr_sandbox.controllers.workqueue import WorkQueue

log = logging.getLogger(__name__)

Backend: TypeAlias = tuple[str, int]  # address and port of a ready endpoint

SERVICE_NAME = "kubernetes.io/service-name"
CONNECT_TIMEOUT_S = 1.0
_LISTEN_RETRY_S = 1.0
_ADDRESS_RETRY_S = 10.0
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class AddressesUsedUp(Exception):
    """Every address of the pool belongs to a Service already."""


def parse_addresses(text: str) -> list[str]:
    """``A,B`` and ``A-B`` ranges, in order. Raises ValueError."""
    found: list[str] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        start, end = ipaddress.IPv4Address(first), ipaddress.IPv4Address(last or first)
        if end < start:
            raise ValueError(f"address range {part!r} ends before it starts")
        found += [str(ipaddress.IPv4Address(number)) for number in range(int(start), int(end) + 1)]
    return found


def choose_address(service: Object, taken: Iterable[str], pool: Sequence[str]) -> str:
    """The Service's address: the one it asks for, the one it has, or the first free one. Raises AddressesUsedUp."""
    used = set(taken)
    wished = [str(service["spec"].get("loadBalancerIP") or ""), ingress_of(service)]
    for address in (*wished, *pool):
        if address in pool and address not in used:
            return address
    raise AddressesUsedUp(f"none of {len(pool)} load balancer addresses is free for {'/'.join(key_of(service))}")


def ingress_of(service: Object) -> str:
    """The address in the Service's status; empty when there is none."""
    ingress = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or [{}]
    return str(ingress[0].get("ip", ""))


def backends_of(service: Object, slices: Iterable[Object]) -> dict[int, tuple[Backend, ...]]:
    """For each TCP port of the Service, the ready endpoints that its slices name for it."""
    slices = list(slices)
    found = {}
    for port in service["spec"].get("ports") or []:
        if port.get("protocol", "TCP") == "TCP":
            found[port["port"]] = tuple(
                (address, target["port"])
                for item in slices
                for target in item.get("ports") or []
                if target.get("name", "") == port.get("name", "")
                for endpoint in item.get("endpoints") or []
                if endpoint["conditions"].get("ready", True)
                for address in endpoint["addresses"]
            )
    return found


class Half(asyncio.Protocol):
    """One of the two sockets of a connection; what it reads goes to its peer, no faster than the peer takes it."""

    def __init__(self) -> None:
        self.peer: Half | None = None
        self.transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        peer = self.peer.transport if self.peer is not None else None
        if peer is None or peer.is_closing() or not peer.can_write_eof():
            return False
        peer.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close() if error is None else self.peer.abort()

    def abort(self) -> None:
        """Close with a reset, so that the other end learns at once and keeps nothing in FIN-WAIT."""
        if self.transport is not None and not self.transport.is_closing():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


class ClientHalf(Half):
    """A client's socket. Nothing is read from it before there is a backend to give it to."""

    def __init__(self, accepted: Callable[[ClientHalf], None]) -> None:
        super().__init__()
        self._accepted = accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._accepted(self)


class Port:
    """One listening port of a Service: takes connections while it has ready backends, resets them while it has none."""

    def __init__(self, address: str, number: int) -> None:
        self._address, self._number = address, number
        self._backends: tuple[Backend, ...] = ()
        self._turn = itertools.count()
        self._open: dict[Half, Backend] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def where(self) -> tuple[str, int]:
        return self._address, self._number

    async def listen(self) -> None:
        """Raises OSError when the address is not there or the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ClientHalf(self._accepted), self._address, self._number, backlog=256
        )

    def set_backends(self, backends: tuple[Backend, ...]) -> None:
        """Connections to backends that are no longer named end now."""
        for gone in set(self._backends) - set(backends):
            cut = [half for half, backend in self._open.items() if backend == gone]
            for half in cut:
                if half.peer is not None:
                    half.peer.abort()
                half.abort()
            log.info("%s:%d: %s:%d left, %d connections cut", *self.where, *gone, len(cut))
        for new in set(backends) - set(self._backends):
            log.info("%s:%d: %s:%d is ready", *self.where, *new)
        self._backends = backends

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    def _accepted(self, client: ClientHalf) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, client: Half) -> None:
        """Join the client with a backend until one of them ends."""
        server: Half | None = None
        try:
            server = await self._connect(client)
            if server is not None and client.transport is not None:
                client.transport.resume_reading()
                # Each half closes its peer when it ends, after what was written has been delivered.
                await server.lost.wait()
                await client.lost.wait()
        finally:
            client.abort()
            if server is not None:
                server.abort()
                self._open.pop(server, None)

    async def _connect(self, client: Half) -> Half | None:
        """The first backend that answers, each asked once, beginning with the next one in turn."""
        loop = asyncio.get_running_loop()
        tried: set[Backend] = set()
        turn = next(self._turn)
        while left := [backend for backend in self._backends if backend not in tried]:
            backend = left[turn % len(left)]
            tried.add(backend)
            server = Half()
            server.peer = client  # from the first byte: database servers speak first
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await loop.create_connection(lambda server=server: server, *backend)  # type: ignore[misc]
            except OSError as error:
                log.debug("%s:%d: %s:%d does not answer: %s", *self.where, *backend, error)
                continue
            client.peer = server
            self._open[server] = backend
            if client.lost.is_set() or backend not in self._backends:
                server.abort()
            return server
        return None


@dataclass(slots=True)
class Frontend:
    """What the balancer keeps for one Service."""

    address: str
    ports: dict[int, Port] = field(default_factory=dict)

    def close(self) -> None:
        for port in self.ports.values():
            port.close()


class Balancer:
    """Follows the Services of type LoadBalancer, whose addresses it puts on ``interface`` unless that is empty."""

    def __init__(self, client: Client, pool: Sequence[str], interface: str = "") -> None:
        self._client = client
        self._pool = pool
        self._interface = interface
        self._frontends: dict[Key, Frontend] = {}
        self._queue: WorkQueue[Key] = WorkQueue("balancer", self._reconcile)
        self._services = Informer(
            client, "/api/v1/services", on_event=lambda _, service, __: self._queue.add(key_of(service))
        )
        self._slices = Informer(client, "/apis/discovery.k8s.io/v1/endpointslices", on_event=self._slice_changed)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._services.run())
                group.create_task(self._slices.run())
                await all_synced((self._services, self._slices))
                group.create_task(self._queue.run())
        finally:
            for key in list(self._frontends):
                self._drop(key)

    def _slice_changed(self, _: str, item: Object, __: Object | None) -> None:
        namespace = item["metadata"]["namespace"]
        key = (namespace, (item["metadata"].get("labels") or {}).get(SERVICE_NAME, ""))
        if key not in self._frontends or key not in self._services.items:
            return
        # Backends change without waiting for the queue: a client must not be kept on a pod that is gone.
        self._set_backends(key)

    def _set_backends(self, key: Key) -> None:
        service = self._services.items[key]
        slices = [
            item
            for (namespace, _), item in self._slices.items.items()
            if namespace == key[0] and (item["metadata"].get("labels") or {}).get(SERVICE_NAME) == key[1]
        ]
        for number, backends in backends_of(service, slices).items():
            if (port := self._frontends[key].ports.get(number)) is not None:
                port.set_backends(backends)

    async def _reconcile(self, key: Key) -> None:
        service = self._services.items.get(key)
        if service is None or service["spec"].get("type") != "LoadBalancer" or _is_going(service):
            self._drop(key)
            return
        if key not in self._frontends:
            taken = [frontend.address for frontend in self._frontends.values()]
            try:
                address = choose_address(service, [*taken, *self._promised(key)], self._pool)
            except AddressesUsedUp as error:
                log.warning("%s", error)
                self._queue.add_after(key, _ADDRESS_RETRY_S)
                return
            await self._put_address("add", address)
            self._frontends[key] = Frontend(address)
        frontend = self._frontends[key]
        await self._open_ports(key, service, frontend)
        self._set_backends(key)
        if ingress_of(service) != frontend.address:
            status = {"loadBalancer": {"ingress": [{"ip": frontend.address, "ipMode": "VIP"}]}}
            path = f"/api/v1/namespaces/{key[0]}/services/{key[1]}/status"
            self._services.observe(await self._client.patch(path, {"status": status}))

    def _promised(self, key: Key) -> list[str]:
        """Addresses that other Services have in their status: after a restart each gets its own back."""
        return [
            ingress_of(service)
            for other, service in self._services.items.items()
            if other != key and service["spec"].get("type") == "LoadBalancer"
        ]

    async def _open_ports(self, key: Key, service: Object, frontend: Frontend) -> None:
        wanted = backends_of(service, ()).keys()
        for number in [number for number in frontend.ports if number not in wanted]:
            frontend.ports.pop(number).close()
        for number in wanted - frontend.ports.keys():
            port = Port(frontend.address, number)
            try:
                await port.listen()
            except OSError as error:
                log.warning("%s/%s: cannot listen on %s:%d: %s", *key, frontend.address, number, error)
                self._queue.add_after(key, _LISTEN_RETRY_S)
                continue
            frontend.ports[number] = port
            log.info("%s/%s: listening on %s:%d", *key, frontend.address, number)

    def _drop(self, key: Key) -> None:
        if (frontend := self._frontends.pop(key, None)) is not None:
            frontend.close()
            if self._interface:
                subprocess.run(self._ip("del", frontend.address), check=False, capture_output=True)

    async def _put_address(self, verb: str, address: str) -> None:
        if self._interface:
            # "File exists" is as good: the address may be left from an earlier run.
            process = await asyncio.create_subprocess_exec(
                *self._ip(verb, address), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            await process.wait()

    def _ip(self, verb: str, address: str) -> list[str]:
        return ["ip", "address", verb, f"{address}/32", "dev", self._interface]


def _is_going(service: Mapping[str, Object]) -> bool:
    return "deletionTimestamp" in service["metadata"]


async def serve(kubeconfig: Path | None, pool: Sequence[str], interface: str) -> None:
    """Run the balancer until cancelled. Raises KubeconfigError."""
    async with Client.from_kubeconfig(kubeconfig) as client:
        await Balancer(client, pool, interface).run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hamgr_sandbox.balancer", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="default: $KUBECONFIG, then ~/.kube/config")
    parser.add_argument("--addresses", default="127.77.0.1-127.77.0.250", help="A,B or A-B (default: %(default)s)")
    parser.add_argument("--interface", default="", help="put each address on this network interface while it is used")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format=_FORMAT)
    try:
        pool = parse_addresses(options.addresses)
        asyncio.run(serve(options.kubeconfig, pool, options.interface))
    except ValueError as error:
        parser.error(str(error))
    except (KubeconfigError, ApiError) as error:
        parser.exit(78, f"{error}\n")
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
