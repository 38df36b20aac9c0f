"""Kubelets' own ports: what counts as an answer, and what is made of several."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fixtures.waiting import wait_until

from hamgr.kube.kubelets import Contact, Heard, Kubelets, dial_port, port_of


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_nobody_listens(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert dial_port("127.0.0.1", port) is Heard.REFUSAL


def test_a_socket_whose_process_is_frozen_is_silent(listener: socket.socket) -> None:
    """The kernel takes the connection; nobody ever reads from it."""
    assert dial_port("127.0.0.1", listener.getsockname()[1]) is Heard.SILENCE


def test_whatever_a_process_says_is_an_answer(listener: socket.socket) -> None:
    def hang_up() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            connection.recv(10)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    port = listener.getsockname()[1]
    assert [dial_port("127.0.0.1", port) for _ in range(2)] == [Heard.ANSWER] * 2
    thread.join()


def node(name: str = "n1", **status: Any) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": "10.0.0.1"}]
    return {"metadata": {"name": name}, "status": {"addresses": addresses, **status}}


def test_the_port_is_the_one_that_the_kubelet_names() -> None:
    assert port_of(node()) == 10250
    assert port_of(node(daemonEndpoints={"kubeletEndpoint": {"Port": 4711}})) == 4711


class Bench:
    """Kubelets that hear what the test says, at times that it says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.heard = Heard.SILENCE
        self.dials = 0
        self.kubelets = Kubelets(lambda: self.now, self._dial)

    def _dial(self, _address: str, _port: int) -> Heard:
        self.dials += 1
        return self.heard

    def look(self) -> Contact | None:
        """Have it dialed, and what is known once that has ended."""
        before = self.dials
        self.kubelets.look(node())
        wait_until(lambda: self.dials > before)
        self.kubelets.close()  # what runs ends first
        self.kubelets._pool.shutdown(wait=True)
        known = self.kubelets.look(node())
        self.kubelets = self._again()
        return known

    def _again(self) -> Kubelets:
        fresh = Kubelets(lambda: self.now, self._dial)
        fresh._known = self.kubelets._known
        return fresh


def well_known() -> Bench:
    """A kubelet that has answered, a while before it fell silent."""
    bench = Bench()
    bench.heard = Heard.ANSWER
    assert bench.look() == Contact(True, None)
    bench.now += 1000.0
    bench.heard = Heard.SILENCE
    return bench


def test_silence_from_a_kubelet_that_never_answered_means_nothing() -> None:
    """There may be a firewall between it and us."""
    bench = Bench()
    assert bench.kubelets.look(node("n2")) is None
    assert bench.look() == Contact(False, None)
    bench.now += 2.0
    assert bench.look() == Contact(False, None)
    bench.kubelets.close()


def test_a_kubelet_that_is_well_is_asked_once_in_a_while() -> None:
    bench = Bench()
    for _ in range(59):
        bench.kubelets.get_to_know(node())
        bench.now += 1.0
    wait_until(lambda: bench.dials == 1)
    bench.now += 1.0
    bench.kubelets.get_to_know(node())
    wait_until(lambda: bench.dials == 2)
    bench.kubelets.close()


def test_silence_is_counted_from_its_first_dial_and_ended_by_any_sign() -> None:
    bench = well_known()
    assert bench.look() == Contact(False, 0.0)
    bench.now += 2.0
    assert bench.look() == Contact(False, 2.0)
    bench.now += 1.0
    bench.heard = Heard.REFUSAL
    assert bench.look() == Contact(False, None)
    bench.now += 1.0
    bench.heard = Heard.ANSWER
    assert bench.look() == Contact(True, None)
    bench.kubelets.close()


def test_what_was_heard_long_ago_says_nothing() -> None:
    bench = well_known()
    assert bench.look() == Contact(False, 0.0)
    bench.now += 6.0
    assert bench.look() == Contact(False, 0.0)  # not 6: nobody has listened in between
    bench.kubelets.close()


def test_a_node_without_an_address_cannot_be_asked() -> None:
    bench = Bench()
    assert bench.kubelets.look({"metadata": {"name": "n1"}}) is None
    assert bench.dials == 0
    bench.kubelets.close()
