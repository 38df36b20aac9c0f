"""The policy engine: from configuration and recorded history to a transition, as Pacemaker 2.1.5 decides."""

from hamgr.scheduler.engine import schedule
from hamgr.scheduler.transition import GraphAction, Reason, SummaryLine, Transition

__all__ = ["GraphAction", "Reason", "SummaryLine", "Transition", "schedule"]
