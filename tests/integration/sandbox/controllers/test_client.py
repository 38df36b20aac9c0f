"""The client and its informer against a real HTTP server: caches that are right after gaps, errors with their codes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from pathlib import Path

import pytest
from fixtures.control_plane import until
from hamgr_sandbox.apiserver.server import ApiServer, Settings, running
from hamgr_sandbox.client import Access, ApiError, Client, Informer, KubeconfigError, Unreachable, load_kubeconfig

SECRETS = "/api/v1/namespaces/default/secrets"


def secret(name: str, value: str = "") -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"value": value}}


def value(informer: Informer, name: str) -> str:
    return base64.b64decode(informer.items["default", name]["data"]["value"]).decode()


def test_refusals_carry_code_and_reason() -> None:
    async def story() -> None:
        async with running(ApiServer()) as (url,), Client(Access(url)) as client:
            with pytest.raises(ApiError) as refusal:
                await client.get(f"{SECRETS}/nope")
            assert (refusal.value.code, refusal.value.reason) == (404, "NotFound")
            assert 'secrets "nope" not found' in str(refusal.value)

    asyncio.run(story())


def test_no_answer_is_an_error_of_its_own() -> None:
    async def story() -> None:
        async with Client(Access("http://127.0.0.1:9")) as client:
            with pytest.raises(Unreachable):
                await client.get(SECRETS)

    asyncio.run(story())


def test_lists_are_read_page_by_page() -> None:
    async def story() -> None:
        async with running(ApiServer()) as (url,), Client(Access(url)) as client:
            for number in range(7):
                await client.post(SECRETS, secret(f"m{number}"))
            items = (await client.list(SECRETS, limit="3"))["items"]
            assert sorted(item["metadata"]["name"] for item in items) == [f"m{number}" for number in range(7)]
            assert {item["kind"] for item in items} == {"Secret"}

    asyncio.run(story())


class Line:
    """A way to the server that can be cut and mended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._up = True

    async def open(self) -> str:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        self._up = False
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._up = True

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            writer.transport.abort()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, forth}
        await asyncio.gather(self._copy(reader, forth), self._copy(back, writer))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
        sink.close()


def test_an_informer_finds_out_what_happened_while_it_was_cut_off() -> None:
    async def story() -> None:
        told: list[tuple[str, str]] = []
        # The server remembers four events only, so that going on where the watch ended is no way out.
        async with running(ApiServer(Settings(window=4))) as (url,), Client(Access(url)) as direct:
            line = Line(int(url.rpartition(":")[2]))
            async with Client(Access(await line.open())) as client:
                informer = Informer(
                    client, SECRETS, on_event=lambda kind, item, _: told.append((kind, item["metadata"]["name"]))
                )
                task = asyncio.create_task(informer.run())
                await direct.post(SECRETS, secret("kept"))
                await direct.post(SECRETS, secret("lost"))
                await until("both are known", lambda: len(informer.items) == 2)
                line.cut()
                await direct.delete(f"{SECRETS}/lost")
                for number in range(9):
                    await direct.put(f"{SECRETS}/kept", secret("kept", str(number)))
                told.clear()
                line.mend()
                await until("the deletion is told", lambda: ("DELETED", "lost") in told)
                await until("the last value is there", lambda: value(informer, "kept") == "8")
                assert ("MODIFIED", "kept") in told
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())


def test_a_write_of_ours_is_in_the_cache_at_once_and_told_once() -> None:
    async def story() -> None:
        told: list[str] = []
        async with running(ApiServer()) as (url,), Client(Access(url)) as client:
            informer = Informer(client, SECRETS, on_event=lambda kind, _, __: told.append(kind))
            task = asyncio.create_task(informer.run())
            await informer.synced.wait()
            assert informer.items == {}
            created = informer.observe(await client.post(SECRETS, secret("a")))
            assert informer.items["default", "a"] is created
            await client.patch(f"{SECRETS}/a", {"stringData": {"value": "1"}})
            await until("the change is there", lambda: value(informer, "a") == "1")
            informer.observe(created)  # an old answer must not turn the cache back
            assert value(informer, "a") == "1"
            await client.delete(f"{SECRETS}/a")
            await until("it is gone", lambda: not informer.items)
            informer.observe(created)  # nor bring back the dead
            assert informer.items == {}
            assert told == ["ADDED", "MODIFIED", "DELETED"]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())


def test_kubeconfig_problems_name_the_file_and_the_entry(tmp_path: Path) -> None:
    path = tmp_path / "config"
    with pytest.raises(KubeconfigError, match=str(path)):
        load_kubeconfig(path)
    path.write_text("current-context: x\ncontexts: []\n")
    with pytest.raises(KubeconfigError, match="no context named 'x'"):
        load_kubeconfig(path)
    path.write_text(
        "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://a'}}]\nusers: [{name: u, user: {exec: {command: y}}}]\n"
    )
    with pytest.raises(KubeconfigError, match="needs exec"):
        load_kubeconfig(path)
    path.write_text(
        "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://a/'}}]\nusers: [{name: u, user: {token: t}}]\n"
    )
    assert load_kubeconfig(path) == Access("http://a", None, "t")
