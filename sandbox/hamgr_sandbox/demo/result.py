"""What one fault led to, and whether it kept the two promises that are never traded away."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened, in seconds after the fault."""

    step: str
    at_s: float


@dataclass(slots=True)
class Result:
    """What one fault led to.

    outage_s: the longest stretch in which no row was acknowledged, less the client's own pace. acked: rows that were
    acknowledged during the act; found: how many of those are in the table at its end; duplicates: rows found more than
    once; second_writer: whether two servers ever acknowledged writes in turns, or an old one did after a new one had.
    back: whether the database was written to again before the patience was over; if not, nothing could be found.
    """

    fault: str
    title: str
    outage_s: float
    acked: int
    found: int
    duplicates: int
    second_writer: bool
    back: bool
    steps: list[Step] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        return not self.broken_promises()

    def broken_promises(self) -> list[str]:
        """A few words for each promise that was not kept."""
        if not self.back:
            return [f"the database was not back after {self.outage_s:.0f} s"]
        words = []
        if self.found < self.acked:
            words.append(f"{self.acked - self.found} acknowledged rows are LOST")
        if self.duplicates:
            words.append(f"{self.duplicates} rows are there TWICE")
        if self.second_writer:
            words.append("a SECOND WRITER was seen")
        return words

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
