"""The watchdog device, without one that resets the machine: what its driver is told, in order, and when."""

import time

import pytest
from fixtures.guards import running_guard
from fixtures.waiting import wait_until
from fixtures.watchdog_device import KEEPALIVE, SETTIMEOUT, stand_in

from hamgr.clock import boottime
from hamgr.daemon.selffence import device
from hamgr.daemon.selffence.client import GuardLine
from hamgr.daemon.selffence.device import DeviceUnusable, WatchdogDevice
from hamgr.daemon.selffence.killer import GuardOptions
from hamgr.daemon.settings import SettingsError


@pytest.fixture
def driver(tmp_path):
    with stand_in(tmp_path / "dev") as made:
        yield made


def test_the_requests_are_those_of_linux_watchdog_h():
    assert (device._SETTIMEOUT, device._KEEPALIVE) == (SETTIMEOUT, KEEPALIVE)


def test_opened_set_fed_and_closed_in_good_order(driver):
    device = WatchdogDevice(str(driver.path), 2)
    device.feed()
    assert driver.heard == ["open", "settimeout 2", "keepalive"]
    assert driver.armed
    device.close()
    wait_until(lambda: driver.heard[-2:] == ["write b'V'", "release"])
    assert not driver.armed


def test_a_driver_without_keepalive_is_fed_by_a_write(driver):
    driver.has_keepalive = False
    device = WatchdogDevice(str(driver.path), 2)
    device.feed()
    assert driver.heard[-1] == "write b'\\x00'"
    device.close()


@pytest.mark.parametrize(
    ("granted_s", "told"),
    [(60, "can wait no shorter than 60 s, not 2 s"), (None, "cannot be set: Inappropriate ioctl for device")],
)
def test_a_driver_that_would_come_too_late_is_disarmed_and_refused(driver, granted_s, told):
    driver.granted_s = granted_s
    with pytest.raises(DeviceUnusable, match=told):
        WatchdogDevice(str(driver.path), 2)
    wait_until(lambda: "release" in driver.heard)
    assert not driver.armed


def test_a_watchdog_that_somebody_else_has_is_named(driver):
    driver.busy = True
    with pytest.raises(DeviceUnusable, match=r"watchdog .*/watchdog cannot be opened: Device or resource busy"):
        WatchdogDevice(str(driver.path), 2)


def test_a_file_that_is_no_watchdog_is_refused(tmp_path):
    (tmp_path / "plain").touch()
    with pytest.raises(DeviceUnusable, match=r"the time-out of the watchdog .*/plain cannot be set"):
        WatchdogDevice(str(tmp_path / "plain"), 2)


@pytest.fixture
def line(driver, tmp_path):
    """A guard with the device."""
    options = GuardOptions("n1", str(tmp_path), ("environment",), str(driver.path), 2, "boot-1")
    with running_guard(options) as made:
        yield made


def test_the_guard_feeds_it_until_the_time_is_over_and_never_disarms_it_then(driver, line):
    line.say({"until": boottime() + 600, "pods": []})
    before = driver.fed()
    wait_until(lambda: driver.fed() >= before + 3)
    line.say({"until": boottime()})
    starved = driver.fed()
    time.sleep(1.0)  # a time in which it would have fed four times
    assert driver.fed() == starved
    assert driver.armed
    assert "write b'V'" not in driver.heard


def test_the_guard_disarms_it_when_hamgrd_stops_in_good_order(driver, line):
    line.say({"until": boottime() + 600})
    line.dismiss()
    wait_until(lambda: "release" in driver.heard)
    assert driver.heard[-2:] == ["write b'V'", "release"]
    assert not driver.armed


def test_a_guard_that_is_killed_leaves_it_armed(driver, line):
    line.say({"until": boottime() + 600})
    line.close(kill=True)
    wait_until(lambda: driver.heard[-1] == "release")
    assert driver.armed


def test_a_watchdog_that_cannot_be_used_keeps_hamgrd_from_promising(driver, tmp_path):
    driver.busy = True
    options = GuardOptions("n1", str(tmp_path), ("environment",), str(driver.path), 2, "boot-1")
    with pytest.raises(SettingsError, match=r"self-fencing cannot begin: the watchdog .* cannot be opened: Device or"):
        GuardLine(options).open()
