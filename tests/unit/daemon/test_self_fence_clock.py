"""Until when the guard is told to let instances live: by the renewal, whatever the machine did meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hamgr import clock
from hamgr.daemon.selffence.bound import Bound
from hamgr.daemon.selffence.client import GuardLine, SelfFence, Sights
from hamgr.daemon.selffence.killer import GuardOptions
from hamgr.store.membership import MemberInfo, Membership

TTL_S = 5


class Told(GuardLine):
    """The connection to a guard that only listens."""

    def __init__(self) -> None:
        self.until = 0.0

    def say(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        self.until = message["until"]
        return {"condemned": []}


def test_time_asleep_does_not_let_instances_live_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = None
    member: Any = Membership(store, MemberInfo("n1", "boot-1", ttl_s=TTL_S))
    sights = Sights(set, lambda: True, lambda condemned: condemned)
    options = GuardOptions("n1", str(tmp_path), ("cgroup",))
    fence, line = SelfFence(Bound(2.0, 4.0, proves=True), options, TTL_S, member, store, sights), Told()
    fence._line = line
    renewed = clock.boottime()
    member._sent = renewed
    fence._feed()
    assert line.until == pytest.approx(renewed + 2.0)
    real = clock.time.clock_gettime
    monkeypatch.setattr(clock.time, "clock_gettime", lambda which: real(which) + 60)
    fence._feed()
    assert line.until == pytest.approx(renewed + 2.0)
