"""What is seen of nodes, with values."""

from __future__ import annotations

from types import MappingProxyType

from hamgr.controller.views import Views
from hamgr.store.values import Change, Entry, Snapshot

NOBODY = Snapshot("members/", 1, MappingProxyType({}))


def test_a_daemon_that_said_goodbye_before_we_led_has_left() -> None:
    goodbyes = Snapshot("goodbyes/", 1, MappingProxyType({"goodbyes/n1": Entry({"node": "n1"}, 1, 1)}))
    views = Views(NOBODY, None, None, goodbyes=goodbyes)
    assert views.of("n1").left
    assert not views.of("n2").left


def test_who_joins_again_has_not_left() -> None:
    goodbyes = Snapshot("goodbyes/", 1, MappingProxyType({"goodbyes/n1": Entry({"node": "n1"}, 1, 1)}))
    views = Views(NOBODY, None, None, goodbyes=goodbyes)
    views.note([Change("members/n1", Entry({"node": "n1", "boot_id": "b"}, 2, 2))])
    assert (views.of("n1").member, views.of("n1").left) == (True, False)
