"""The story itself: a fault after the other while a client writes, and what became of its rows each time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from hamgr.api.events import Event
from hamgr_sandbox.demo.cluster import DemoCluster
from hamgr_sandbox.demo.display import Display
from hamgr_sandbox.demo.faults import Act
from hamgr_sandbox.demo.result import Result, Step
from hamgr_sandbox.demo.writer import Acknowledged, Writer, longest_outage

CREATE = (
    "CREATE DATABASE IF NOT EXISTS demo",
    f"CREATE TABLE IF NOT EXISTS {Writer.TABLE} (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL, "
    "server VARCHAR(255) NOT NULL, INDEX (number)) ENGINE=InnoDB",
)
_BEFORE_S = 2.0  # of undisturbed writing before a fault
_AFTER_S = 3.0  # and after the last outage
_INSIDER_FIRST = 1_000_000_000  # plus the number of the act's first row: no number is ever used twice
_CALM_S = 120.0  # until a cluster is whole again after a fault was undone


def prepare(stage: DemoCluster) -> None:
    """Create the client's table."""
    for statement in CREATE:
        stage.query(statement)


def play(stage: DemoCluster, act: Act, number: int, teller: Display, patience_s: float) -> Result:
    """Play one act. Raises NotInTime when the cluster is not ready for it.

    number: of the first row that the client writes. patience_s: when to give up waiting for the database.
    """
    stage.wait(stage.quiet, max(_CALM_S, patience_s), stage.calm)
    writer = Writer(stage.connect, first=number)
    writer.start()
    try:
        stage.wait(lambda: len(writer.acknowledged()) > _BEFORE_S / writer.interval_s, 30, "the client to write")
        with _insider(stage, act, _INSIDER_FIRST + number) as insider:
            watch = Watch(stage, teller, writer)
            where = act.strike(stage)
            teller.at(0.0, act.deed.format(where=where), "bold")
            watch.until_steady(patience_s)
    finally:
        writer.stop()
    result = _judge(stage, act, watch, insider)
    act.mend(stage, where)
    _conclude(result, insider, watch.struck, teller)
    return result


def _conclude(result: Result, insider: list[Acknowledged], struck: float, teller: Display) -> None:
    if insider:
        gone = "then its disk was gone" if result.back else "nobody has taken its disk"
        teller.at(max(row.at for row in insider) - struck, f"last row that the old database acknowledged: {gone}")
    if not result.back:
        teller.conclude(f"not back after {result.outage_s:.0f} s; given up", good=False)
        return
    rows = f"{result.found} of {result.acked} acknowledged rows found"
    teller.conclude(f"outage {result.outage_s:.2f} s, {rows}", good=result.kept)


class Watch:
    """Looks at cluster and client from a fault on, and tells each thing once."""

    def __init__(self, stage: DemoCluster, teller: Display, writer: Writer) -> None:
        """Begin: the fault happens now."""
        self.writer = writer
        self.seen: list[Step] = []
        self._stage = stage
        self._teller = teller
        self._told = 0
        self._outage = 0.0
        self._pods = stage.pod_states()
        self.struck = self.ended = time.monotonic()
        self.wall = time.time()

    def until_steady(self, patience_s: float) -> None:
        """Tell what happens, until the client has written undisturbed for a while again or the patience is over."""
        while True:
            time.sleep(0.1)
            self._tell_events()
            self._tell_pods()
            self._tell_client()
            self.ended = time.monotonic()
            since = _steady_since([row for row in self.writer.acknowledged() if row.at > self.struck], self.writer)
            steady = since is not None and self.ended - since > _AFTER_S and self.ended - self.struck > _AFTER_S + 2
            if steady or self.ended - self.struck > patience_s:
                return

    def events(self) -> list[tuple[Event, float]]:
        """What the cluster has told since the fault."""
        return _since(self._stage.events(), self.wall)

    def _tell_events(self) -> None:
        news = self.events()
        for event, at_s in news[self._told :]:
            self._teller.event(at_s, event)
        self._told = len(news)

    def _tell_pods(self) -> None:
        """Kubernetes tells hamgr's story over again; what hamgr leaves to it, and plain Kubernetes, are told by it."""
        found = self._stage.pod_states()
        for name, state in found.items():
            before = self._pods.get(name)
            if state == before or (self._stage.hamgr and (before is None or before.restarts == state.restarts)):
                continue
            text = f"Kubernetes: {name} {state.describe(before)}"
            at_s = time.monotonic() - self.struck
            self.seen.append(Step(text, round(at_s, 3)))
            self._teller.at(at_s, text, "")
        self._pods = found or self._pods

    def _tell_client(self) -> None:
        rows = self.writer.acknowledged()
        outage = longest_outage(rows, self.struck, time.monotonic(), self.writer.interval_s)
        over = rows[-1].at >= outage.end
        if over and outage.seconds > max(self._outage, 2 * self.writer.interval_s):
            self._outage = outage.seconds
            self._teller.at(outage.end - self.struck, "the client's writes are acknowledged again")


def _steady_since(rows: list[Acknowledged], writer: Writer) -> float | None:
    """Since when rows have come without a gap; None: they do not."""
    interval_s = writer.interval_s
    if not rows or time.monotonic() - rows[-1].at > 5 * interval_s:
        return None
    since = rows[-1].at
    for row in reversed(rows):
        if since - row.at > 5 * interval_s:
            break
        since = row.at
    return since


@contextmanager
def _insider(stage: DemoCluster, act: Act, first: int) -> Iterator[list[Acknowledged]]:
    """While the body runs, and for acts that leave the old database running: a client beside it, cut off with it."""
    seen: list[Acknowledged] = []
    if not act.cuts_off:
        yield seen
        return
    pod = stage.active_pod()
    arguments = [str(pod["status"]["podIP"]), "3306", stage.password, str(first)]
    command = stage.sandbox.host(str(pod["spec"]["nodeName"])).inside(
        [sys.executable, "-m", "hamgr_sandbox.demo.partitioned_client", *arguments]
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


def _judge(stage: DemoCluster, act: Act, watch: Watch, insider: list[Acknowledged]) -> Result:
    interval_s, struck = watch.writer.interval_s, watch.struck
    rows = [row for row in watch.writer.acknowledged() if row.at <= watch.ended]
    outage = longest_outage(rows, struck, watch.ended, interval_s)
    back = rows[-1].at > struck and rows[-1].at >= outage.end
    # Rows that were acknowledged while the watch ended must be found as well.
    numbers = [row.number for row in watch.writer.acknowledged()] + [row.number for row in insider]
    counts: dict[int, int] = {}
    if back:
        for (number,) in stage.query(f"SELECT number FROM {Writer.TABLE}"):
            counts[int(number)] = counts.get(int(number), 0) + 1
    seconds = _beyond_pace(outage.seconds, interval_s)
    steps = [Step(event.text, round(at_s, 3)) for event, at_s in watch.events()] + watch.seen
    if seconds:
        steps.append(Step("client: last acknowledged row before the outage", round(outage.start - struck, 3)))
    if seconds and back:
        steps.append(Step("client: first acknowledged row after it", round(outage.end - struck, 3)))
    if insider:
        steps.append(Step("old database: last row it acknowledged", round(max(r.at for r in insider) - struck, 3)))
    return Result(
        fault=act.name,
        title=act.title,
        outage_s=round(seconds, 2),
        acked=len(numbers),
        found=sum(number in counts for number in numbers),
        duplicates=sum(count - 1 for count in counts.values() if count > 1),
        second_writer=back and (any(r.at > outage.end for r in insider) or _take_turns(stage, rows[0].number)),
        back=back,
        steps=sorted(steps, key=lambda step: step.at_s),
    )


def _beyond_pace(seconds: float, interval_s: float) -> float:
    """An outage as a person would call it: a row that comes less than one interval late is none."""
    return 0.0 if seconds < interval_s else seconds


def _take_turns(stage: DemoCluster, first: int) -> bool:
    """Whether a server wrote again after another one had, in the order in which this act's rows entered the table."""
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
