"""A line of the scheduler's summary in words, as crm_simulate's Transition Summary says it."""

from __future__ import annotations

from hamgr.scheduler.transition import SummaryLine


def describe(line: SummaryLine) -> str:
    """`Move mariadb (n1 -> n2)`, `Fence (reboot) n1: ...`."""
    why = f" due to {line.reason}" if line.reason else ""
    if line.task:
        return f"{line.task} {line.node}{why}"
    blocked = " (blocked)" if line.blocked else ""
    return f"{line.action.capitalize():<10} {line.resource} ({_change(line)}){why}{blocked}"


def _change(line: SummaryLine) -> str:
    before = " ".join(part for part in (line.role, line.source) if part)
    after = " ".join(part for part in (line.next_role, line.dest) if part)
    if before and after and before != after:
        return f"{before} -> {after}"
    return before or after or line.node
