"""What the demo concludes from rows and results, and how it words it."""

from dataclasses import replace

import pytest
from hamgr_sandbox.demo.display import outage_of, short, verdict
from hamgr_sandbox.demo.faults import ACTS
from hamgr_sandbox.demo.result import Result
from hamgr_sandbox.demo.writer import Acknowledged, Outage, longest_outage

GOOD = Result("pod-deleted", "pod deleted", 1.5, acked=50, found=50, duplicates=0, second_writer=False, back=True)


def _rows(*times: float) -> list[Acknowledged]:
    return [Acknowledged(number, at, "db") for number, at in enumerate(times)]


def test_the_longest_gap_after_the_fault_counts_less_the_clients_pace() -> None:
    rows = _rows(1.0, 5.0, 5.1, 7.1, 7.2)
    assert longest_outage(rows, since=5.05, until=7.3, interval_s=0.1) == Outage(5.1 + 0.1, 7.1)


def test_a_gap_that_is_still_open_counts() -> None:
    assert longest_outage(_rows(1.0, 1.1), since=1.1, until=61.1, interval_s=0.1).end == 61.1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"found": 49}, "1 acknowledged rows are LOST"),
        ({"duplicates": 2}, "2 rows are there TWICE"),
        ({"second_writer": True}, "a SECOND WRITER was seen"),
        ({"back": False, "outage_s": 60.0, "found": 0}, "the database was not back after 60 s"),
    ],
)
def test_a_broken_promise_is_a_failure_and_is_named(change: dict[str, object], word: str) -> None:
    act = ACTS[0]
    kept, sentences = verdict([act], {act.name: [GOOD, replace(GOOD, **change)]})
    assert (kept, sentences) == (False, [f"pod deleted: {word}"])


def test_slowness_is_told_but_is_no_failure() -> None:
    act = ACTS[0]
    kept, sentences = verdict([act], {act.name: [replace(GOOD, outage_s=3.5)]})
    assert kept
    assert sentences[1:] == ["pod deleted: 3.50 s is more than 3 s (a busy machine?)"]


def test_several_runs_are_shown_as_median_and_range() -> None:
    assert outage_of([replace(GOOD, outage_s=s) for s in (3.0, 1.0, 2.0)]) == "2.00 s (1.00–3.00)"


def test_one_run_that_did_not_end_says_so_for_all() -> None:
    assert outage_of([GOOD, replace(GOOD, back=False, outage_s=60.2)]) == "not back after 60 s"


def test_lines_leave_out_what_only_a_program_needs() -> None:
    text = f"VolumeAttachment csi-{'9edb214e' * 8} (UID 41f6f3ec-1269-46d5-9d3e-fb89ccaffda9) is gone"
    assert short(text) == "VolumeAttachment csi-9edb214e… is gone"
    assert short("Move       disk (n1 -> n3)") == "Move disk (n1 -> n3)"
