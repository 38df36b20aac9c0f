"""What a node agent knows of one container, in whatever order the runtime tells it."""

from __future__ import annotations

from dataclasses import replace

from hamgr_sandbox.node.containers import Container
from hamgr_sandbox.node.track import Track

RUN = Container(
    id="second",
    pod_uid="uid",
    namespace="default",
    pod="kv",
    name="main",
    attempt=1,
    log="log",
    pid=7,
    started_ticks=1,
    started_at=1.0,
)
ENDED = replace(RUN, exit_code=137, finished_at=2.0)


def test_an_exit_is_seen_when_it_is_looked_for() -> None:
    track = Track({"name": "main"})
    track.began(RUN)
    assert not track.see_exit(1.0)
    assert track.tell_exit(ENDED)
    assert track.exited.is_set()
    assert track.see_exit(1.0)
    assert track.current == ENDED


def test_an_exit_that_is_told_before_the_start_is_not_forgotten() -> None:
    # A container that is killed within milliseconds: both messages come at once, and the start is waited for elsewhere.
    track = Track({"name": "main"})
    track.began(replace(ENDED, id="first", attempt=0))
    assert not track.tell_exit(ENDED)
    track.began(RUN)
    assert track.exited.is_set()
    assert track.see_exit(1.0)
    assert track.current == ENDED


def test_an_exit_of_an_earlier_run_says_nothing_of_the_present_one() -> None:
    track = Track({"name": "main"})
    track.began(RUN)
    assert not track.tell_exit(replace(ENDED, id="first", attempt=0))
    track.began(replace(RUN, id="third", attempt=2))
    assert not track.see_exit(1.0)
    assert not track.exited.is_set()
