"""The machine's watchdog: fed while the node is a member, closed in good order when hamgrd stops in good order.

Source: Linux's watchdog API (Documentation/watchdog/watchdog-api.rst): WDIOC_SETTIMEOUT and WDIOC_KEEPALIVE, or any
write; writing `V` before closing ("magic close") disarms a driver that was not built with `nowayout`.
"""

from __future__ import annotations

import fcntl
import os
import struct

_IOR, _IOWR = 2 << 30, 3 << 30
_INT = struct.calcsize("i") << 16
_KEEPALIVE = _IOR | _INT | ord("W") << 8 | 5
_SETTIMEOUT = _IOWR | _INT | ord("W") << 8 | 6


class DeviceUnusable(Exception):
    """The watchdog cannot be used; the message says why."""


class WatchdogDevice:
    """An open watchdog device: from now on the machine is reset when it is not fed in time."""

    def __init__(self, path: str, timeout_s: int) -> None:
        """Raises DeviceUnusable: it is not there, in use, or cannot be set to `timeout_s`."""
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceUnusable(f"the watchdog {path} cannot be opened: {error.strerror}") from None
        try:
            answer = fcntl.ioctl(self._file, _SETTIMEOUT, struct.pack("i", timeout_s))
            granted = struct.unpack("i", answer)[0]
        except OSError as error:
            self.close()
            raise DeviceUnusable(f"the time-out of the watchdog {path} cannot be set: {error.strerror}") from None
        if granted > timeout_s:
            self.close()
            raise DeviceUnusable(f"the watchdog {path} can wait no shorter than {granted} s, not {timeout_s} s")

    def feed(self) -> None:
        """One time-out more."""
        try:
            fcntl.ioctl(self._file, _KEEPALIVE, struct.pack("i", 0))
        except OSError:
            os.write(self._file, b"\0")

    def close(self) -> None:
        """Disarm it and let go of it."""
        try:
            os.write(self._file, b"V")
        finally:
            os.close(self._file)
