"""systemd's notification protocol, sd_notify(3): readiness, a line of status, the watchdog. Silent without systemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping


class Notifier:
    """Tells the service manager how we are. Never raises; does nothing where there is no manager."""

    def __init__(
        self, environment: Mapping[str, str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._clock = clock
        self._interval_s = _watchdog_s(environment) / 3
        self._fed = float("-inf")
        self._status = ""

    def ready(self) -> None:
        """Startup, or a reload, is over."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload has begun."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Shutdown has begun."""
        self._send("STOPPING=1")

    def status(self, line: str) -> None:
        """One line for `systemctl status`; repeated ones are not sent again."""
        if line != self._status and self._send(f"STATUS={line}", wait_s=0.0):
            self._status = line

    def alive(self) -> None:
        """Feed the watchdog: to be called by the control loop, and by nothing else."""
        due = self._interval_s and self._clock() - self._fed >= self._interval_s
        if due and self._send("WATCHDOG=1", wait_s=0.0):  # else in the next round
            self._fed = self._clock()

    def _send(self, message: str, wait_s: float = 1.0) -> bool:
        """Whether the manager has it. wait_s: how long to wait for one that does not read."""
        if not self._address:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(wait_s)
                channel.sendto(message.encode(), self._address)
        except OSError:  # a manager that is gone or busy must not stop us
            return False
        return True


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """The manager's watchdog time, 0 when it has none or means another process (sd_watchdog_enabled(3))."""
    pid, usec = environment.get("WATCHDOG_PID", ""), environment.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(usec) / 1_000_000
