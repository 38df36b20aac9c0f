"""The level `manual`: an operator has looked, and says that it is off; the word is recorded with name and reason."""

from __future__ import annotations

from hamgr.fencer.machine import Isolation
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import FenceRecord, Proof


class ManualMeans:
    """The operator's confirmation, if there is one."""

    def look(self, record: FenceRecord) -> Isolation:
        """The word, or a failure at once: nobody is waited for."""
        word = record.confirmation
        if word is None:
            return Isolation(failure=reason("not-confirmed", node=record.target.node))
        told = f"{word.user} confirmed that {record.target.node} is off: {word.reason or 'no reason given'}"
        return Isolation(proof=Proof("confirmed", record.target.node, told))

    def act(self, record: FenceRecord) -> Isolation:
        """There is nothing to do."""
        return self.look(record)

    def power_on(self, record: FenceRecord) -> None:
        """Whoever switched it off switches it on."""
