"""What a node promises about fencing itself, computed from the settings: when it acts, and by when it is over.

All times are counted from the sending of the last successful renewal of the member lease. Nobody else can see the lease
expire before one TTL has passed, so what is over earlier is over before anybody may act on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamgr.daemon.selffence.killer import GuardOptions
from hamgr.daemon.settings import Settings, SettingsError, seconds
from hamgr.fencer.records import FenceRecord, Outcome
from hamgr.store.membership import RENEWALS_PER_TTL

# Two renewals may fail or be late before a node counts itself as cut off.
_RENEWALS_TO_MISS = 2


@dataclass(frozen=True, slots=True)
class Bound:
    """Seconds after the last renewal: at `act_s` local instances are killed, by `over_s` they are dead.

    proves: whether others may take that for proof. Killing alone ends processes; what they had written to a file
    system may still be in the kernel's memory and reach the disk much later. Only a reset ends that.
    """

    act_s: float
    over_s: float
    proves: bool


def bound_of(settings: Settings) -> Bound | None:
    """When this node fences itself; None when it does not. Raises SettingsError for times that cannot be kept.

    It is over one renewal interval before the TTL. Acting takes the longer one of killing and the watchdog's time-out.
    """
    if settings.self_fencing == "off":
        return None
    ttl_s = seconds(settings.times.member_ttl)
    interval_s = ttl_s / RENEWALS_PER_TTL
    takes_s = seconds(settings.self_fence.kill_time)
    what = f"self-fence.kill-time of {settings.self_fence.kill_time}"
    if settings.self_fencing == "watchdog" and seconds(settings.self_fence.watchdog_timeout) > takes_s:
        takes_s = seconds(settings.self_fence.watchdog_timeout)
        what = f"self-fence.watchdog-timeout of {settings.self_fence.watchdog_timeout}"
    over_s = ttl_s - interval_s
    act_s = over_s - takes_s
    if act_s < _RENEWALS_TO_MISS * interval_s - 1e-9:
        needed = takes_s * RENEWALS_PER_TTL / (RENEWALS_PER_TTL - 1 - _RENEWALS_TO_MISS)
        raise SettingsError(
            f"self-fencing cannot keep its word: with times.member-ttl of {settings.times.member_ttl} and {what} the "
            f"node would have to act {act_s:g} s after a renewal, before {_RENEWALS_TO_MISS} renewals "
            f"({_RENEWALS_TO_MISS * interval_s:g} s) can have failed; set times.member-ttl to {-int(-needed // 1)}s "
            "or more, or shorten the other one"
        )
    return Bound(act_s, over_s, settings.self_fencing == "watchdog" or settings.self_fence.kill_suffices)


def guard_options(settings: Settings, base: Path, boot_id: str) -> GuardOptions:
    """What the guard is to be started with."""
    chosen = settings.self_fence
    watchdog = settings.self_fencing == "watchdog"
    return GuardOptions(
        node=settings.node,
        directory=str(base / chosen.state_dir),
        find=chosen.find,
        device=str(base / chosen.watchdog_device) if watchdog else "",
        device_timeout_s=round(seconds(chosen.watchdog_timeout)) if watchdog else 0,
        boot_id=boot_id,
    )


def may_live(
    condemned: Collection[str], node: str, fences: Iterable[FenceRecord], pods: Iterable[Mapping[str, Any]]
) -> set[str]:
    """Which pods may run again on a node that has fenced itself and is a member again.

    fences: the records read after the node became a member again; pods: those in the API, read after the fences. None
    may while a fence of the node is under way, since it may have taken the node's word already; else those may that
    nobody has deleted: a fence that has ended has deleted its pods.
    """
    if any(record.target.node == node and record.outcome is Outcome.PENDING for record in fences):
        return set()
    kept = {pod["metadata"]["uid"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}
    return kept & set(condemned)
