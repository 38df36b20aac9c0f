"""The watchdog device: the system calls are those of the kernel's header, and what is no watchdog is refused."""

import pytest

from hamgr.daemon import selffence_device
from hamgr.daemon.selffence_device import DeviceUnusable, WatchdogDevice


def test_the_requests_are_those_of_linux_watchdog_h():
    assert selffence_device._SETTIMEOUT == 0xC0045706
    assert selffence_device._KEEPALIVE == 0x80045705


def test_a_file_that_is_no_watchdog_is_refused(tmp_path):
    (tmp_path / "plain").touch()
    with pytest.raises(DeviceUnusable, match=r"the time-out of the watchdog .*/plain cannot be set"):
        WatchdogDevice(str(tmp_path / "plain"), 2)
