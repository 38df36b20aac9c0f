"""sd_notify over a real datagram socket."""

import os
import socket

import pytest

from hamgr.daemon.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else f"\0hamgr-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(name)
        channel.setblocking(False)
        yield channel, name.replace("\0", "@")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def said(channel):
    messages = []
    try:
        while True:
            messages.append(channel.recv(4096).decode())
    except BlockingIOError:
        return messages


def test_states_and_status_reach_the_manager(manager):
    channel, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.status("leading")
    notifier.status("leading")
    notifier.status("following")
    notifier.reloading()
    notifier.stopping()
    ready, leading, following, reloading, stopping = said(channel)
    assert (ready, leading, following, stopping) == ("READY=1", "STATUS=leading", "STATUS=following", "STOPPING=1")
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_the_watchdog_is_fed_three_times_in_its_time(manager):
    channel, address = manager
    clock = Clock()
    notifier = Notifier(
        {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, clock
    )
    for _ in range(60):
        notifier.alive()
        clock.now += 0.5
    assert said(channel) == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}])
def test_a_watchdog_that_is_not_ours_is_not_fed(manager, environment):
    channel, address = manager
    Notifier({"NOTIFY_SOCKET": address, **environment}).alive()
    assert said(channel) == []


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_a_manager_nothing_happens(environment):
    notifier = Notifier(environment | {"WATCHDOG_USEC": "1000000"})
    notifier.ready()
    notifier.alive()
    notifier.status("x")


def test_a_manager_that_does_not_read_is_not_waited_for_and_fed_as_soon_as_it_does(manager):
    channel, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"}, Clock())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        try:
            while True:
                filler.sendto(b"x", channel.getsockname())
        except BlockingIOError:
            pass
    notifier.alive()
    notifier.status("leading")
    assert set(said(channel)) == {"x"}
    notifier.alive()
    notifier.status("leading")
    assert said(channel) == ["WATCHDOG=1", "STATUS=leading"]
