"""How the story is told on a terminal: short lines while it happens, one table at its end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hamgr.api.events import Event
from hamgr_sandbox.demo.faults import Act
from hamgr_sandbox.demo.result import Result

_LONG_NAME = re.compile(r"\b(csi-[0-9a-f]{8})[0-9a-f]{56}\b")
_UID = re.compile(r" \(UID [0-9a-f-]{36}\)")
_STYLES = {"warning": "yellow", "error": "bold red"}


def short(text: str) -> str:
    """A line of the event log without what only a program needs: UIDs, long hashes, runs of blanks."""
    return " ".join(_LONG_NAME.sub(r"\1…", _UID.sub("", text)).split())


class Display:
    """Prints the story, each line with its time: since the beginning, or since the fault that is being told of."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()

    def say(self, text: str, style: str = "") -> None:
        """A line of the preparations."""
        self._line(f"{self._clock() - self._began:6.1f}", text, style)

    def act(self, title: str) -> None:
        """A fault's heading."""
        self._console.print()
        self._console.rule(f"[bold]{title}[/bold]", align="left", style="dim")

    def at(self, seconds: float, text: str, style: str = "bold cyan") -> None:
        """Something the client or the stage saw, `seconds` after the fault."""
        self._line(f"{seconds:+6.2f}", text, style)

    def event(self, seconds: float, event: Event) -> None:
        """Something the cluster told."""
        indent = "    " if event.code == "decision" else ""
        self._line(f"{seconds:+6.2f}", indent + short(event.text), _STYLES.get(event.level, ""))

    def conclude(self, text: str, *, good: bool) -> None:
        """An act's last line."""
        self._line("   =>", text, "bold green" if good else "bold red")

    def _line(self, when: str, text: str, style: str) -> None:
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row(Text(when, style="dim"), Text(text, style=style))
        self._console.print(row)


def outage_of(results: Sequence[Result]) -> str:
    """The median outage in words, with the range of several."""
    if not all(result.back for result in results):
        lost = [result for result in results if not result.back]
        return f"not back after {max(result.outage_s for result in lost):.0f} s"
    outages = sorted(result.outage_s for result in results)
    median = f"{outages[len(outages) // 2]:.2f} s"
    return median if len(outages) == 1 else f"{median} ({outages[0]:.2f}–{outages[-1]:.2f})"


def table(
    acts: Iterable[Act], results: Mapping[str, list[Result]], baseline: Mapping[str, list[Result]] | None
) -> Table:
    """What the client saw of each fault, beside what others make of it; also the faults that were left out."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    made.add_column("fault")
    for column in ("outage", "at most", "acked", "found", "twice", "2nd writer", "Pacemaker", "Kubernetes"):
        made.add_column(column, justify="right")
    if baseline is not None:
        made.add_column("Kubernetes here", justify="right")
    for act in acts:
        if act.left_out:
            made.add_row(Text(act.title), Text("left out", style="dim"), *_elsewhere(act))
            continue
        mine = results[act.name]
        late = any(result.outage_s > act.bound_s for result in mine)
        broken = not all(result.kept for result in mine)
        row = [
            Text(act.title),
            Text(outage_of(mine), style="yellow" if late else "bold green"),
            Text(f"{act.bound_s:g} s"),
            Text(str(sum(result.acked for result in mine))),
            Text(str(sum(result.found for result in mine)), style="bold red" if broken else ""),
            Text(str(sum(result.duplicates for result in mine))),
            Text("YES", style="bold red") if any(result.second_writer for result in mine) else Text("no"),
            Text(act.pacemaker),
            Text(act.kubernetes),
        ]
        if baseline is not None:
            row.append(Text(outage_of(baseline[act.name]) if baseline.get(act.name) else "-"))
        made.add_row(*row)
    return made


def _elsewhere(act: Act) -> list[Text]:
    """The rest of the row of an act that was not played: its bound, and what others make of it."""
    return [Text(f"{act.bound_s:g} s"), *(Text("-") for _ in range(4)), Text(act.pacemaker), Text(act.kubernetes)]


def left_out(acts: Iterable[Act]) -> list[str]:
    """A sentence for each act that this user cannot play."""
    return [f"{act.title}: left out: {act.left_out}" for act in acts if act.left_out]


def verdict(acts: Iterable[Act], results: Mapping[str, list[Result]]) -> tuple[bool, list[str]]:
    """Whether what is never traded away was kept, and the sentences that say so; slowness is told, but no failure."""
    broken, slow = [], []
    for act in acts:
        for result in results[act.name]:
            broken += [f"{act.title}: {word}" for word in result.broken_promises()]
            if result.back and result.outage_s > act.bound_s:
                slow.append(f"{act.title}: {result.outage_s:.2f} s is more than {act.bound_s:g} s (a busy machine?)")
    if broken:
        return False, [*broken, *slow]
    return True, ["No acknowledged row was lost, none is there twice, and no second writer was ever seen.", *slow]
