"""The story itself: a fault after the other while a client writes, and what became of its rows each time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from hamgr.cib.events import Event
from hamgr.sandbox.demo.acts import Act
from hamgr.sandbox.demo.stage import Stage
from hamgr.sandbox.demo.writer import Acknowledged, Writer, longest_outage

CREATE = (
    "CREATE DATABASE IF NOT EXISTS demo",
    f"CREATE TABLE IF NOT EXISTS {Writer.TABLE} (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL, "
    "server VARCHAR(255) NOT NULL, INDEX (number)) ENGINE=InnoDB",
)
_BEFORE_S = 2.0  # of undisturbed writing before a fault
_AFTER_S = 3.0  # and after the last outage
_INSIDER_FIRST = 1_000_000_000

Say = Callable[[str], None]


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
    """

    fault: str
    title: str
    outage_s: float
    acked: int
    found: int
    duplicates: int
    second_writer: bool
    steps: list[Step] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def prepare(stage: Stage) -> None:
    """Create the client's table."""
    for statement in CREATE:
        stage.query(statement)


def play(stage: Stage, act: Act, number: int, say: Say, patience_s: float) -> Result:
    """Play one act. Raises NotInTime when the cluster is not ready for it.

    number: of the first row that the client writes. patience_s: when to give up waiting for the database.
    """
    if stage.hamgr:
        stage.wait(stage.quiet, 120, "the cluster to be whole, with a parked standby")
    writer = Writer(stage.connect, first=number)
    writer.start()
    try:
        stage.wait(lambda: len(writer.acknowledged()) > _BEFORE_S / writer.interval_s, 30, "the client to write")
        with _insider(stage, act) as insider:
            struck, where = time.monotonic(), act.strike(stage)
            wall = time.time() - (time.monotonic() - struck)
            say(f"{act.title}: {where}")
            _await_recovery(stage, writer, struck, patience_s, say, wall)
            outside = writer.acknowledged()
        if stage.hamgr or outside[-1].at > struck + _AFTER_S:
            act.mend(stage, where)
    finally:
        writer.stop()
    return _judge(stage, act, writer, insider, struck, wall)


def _await_recovery(stage: Stage, writer: Writer, struck: float, patience_s: float, say: Say, wall: float) -> None:
    """Tell what the cluster does, until the client has written undisturbed for a while again."""
    told = 0
    while True:
        time.sleep(0.1)
        news = _since(stage.events(), wall)
        for event, at_s in news[told:]:
            say(f"  {at_s:+7.2f} s  {event.text}")
        told = len(news)
        now = time.monotonic()
        rows = [row for row in writer.acknowledged() if row.at > struck]
        steady = _steady_since(rows, writer.interval_s)
        if steady is not None and now - steady > _AFTER_S and now - struck > _AFTER_S + 2:
            return
        if now - struck > patience_s:
            return


def _steady_since(rows: list[Acknowledged], interval_s: float) -> float | None:
    """Since when rows have come without a gap; None: they do not."""
    if not rows or time.monotonic() - rows[-1].at > 5 * interval_s:
        return None
    since = rows[-1].at
    for row in reversed(rows):
        if since - row.at > 5 * interval_s:
            break
        since = row.at
    return since


@contextmanager
def _insider(stage: Stage, act: Act) -> Iterator[list[Acknowledged]]:
    """While the body runs, and for acts that leave the old database running: a client beside it, cut off with it."""
    seen: list[Acknowledged] = []
    if not act.cuts_off:
        yield seen
        return
    pod = stage.active_pod()
    arguments = [str(pod["status"]["podIP"]), "3306", stage.password, str(_INSIDER_FIRST)]
    command = stage.sandbox.host(str(pod["spec"]["nodeName"])).inside(
        [sys.executable, "-m", "hamgr.sandbox.demo.insider", *arguments]
    )
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        time.sleep(1.0)
        yield seen
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=10)
        for line in output.splitlines():
            number, at = line.split()
            seen.append(Acknowledged(int(number), float(at), "insider"))


def _judge(stage: Stage, act: Act, writer: Writer, insider: list[Acknowledged], struck: float, wall: float) -> Result:
    rows = writer.acknowledged()
    outage = longest_outage(rows, struck, time.monotonic(), writer.interval_s)
    recovered = bool(rows) and rows[-1].at > struck and rows[-1].at >= outage.end
    numbers = [row.number for row in rows] + [row.number for row in insider]
    counts: dict[int, int] = {}
    if recovered:
        for (number,) in stage.query(f"SELECT number FROM {Writer.TABLE}"):
            counts[int(number)] = counts.get(int(number), 0) + 1
    late = [row for row in insider if row.at > outage.end]
    steps = [Step(event.text, round(at_s, 3)) for event, at_s in _since(stage.events(), wall)]
    steps.append(Step("client: last acknowledged row before the outage", round(outage.start - struck, 3)))
    steps.append(Step("client: first acknowledged row after it", round(outage.end - struck, 3)))
    if insider:
        steps.append(Step("old database: last row it acknowledged", round(max(r.at for r in insider) - struck, 3)))
    return Result(
        fault=act.name,
        title=act.title,
        outage_s=round(_beyond_pace(outage.seconds, writer.interval_s), 2),
        acked=len(numbers),
        found=sum(number in counts for number in numbers),
        duplicates=sum(count - 1 for count in counts.values() if count > 1),
        second_writer=bool(late) or _take_turns(stage, rows[0].number, recovered),
        steps=sorted(steps, key=lambda step: step.at_s),
    )


def _beyond_pace(seconds: float, interval_s: float) -> float:
    """An outage as a person would call it: a row that comes less than one interval late is none."""
    return 0.0 if seconds < interval_s else seconds


def _take_turns(stage: Stage, first: int, recovered: bool) -> bool:
    """Whether a server wrote again after another one had, in the order in which this act's rows entered the table."""
    if not recovered:
        return False
    order: list[str] = []
    outside = f"number >= {first} AND number < {_INSIDER_FIRST}"
    for (server,) in stage.query(f"SELECT server FROM {Writer.TABLE} WHERE {outside} ORDER BY id"):
        if not order or order[-1] != server:
            order.append(str(server))
    return len(order) != len(set(order))


def _since(events: list[Event], wall: float) -> list[tuple[Event, float]]:
    """The events after a moment, with the seconds between."""
    found = []
    for event in events:
        try:
            at = datetime.fromisoformat(event.at).timestamp()
        except ValueError:
            continue
        if at >= wall - 0.05:
            found.append((event, at - wall))
    return found
