"""The way of a command to the leader and back, and the log of decisions."""

import threading

import pytest
from fixtures.waiting import wait_until

from hamgr.store import (
    Deposed,
    EventLog,
    Leadership,
    RequestQueue,
    RequestRefused,
    Requests,
    RequestTimeout,
    Store,
    read_events,
)

pytestmark = pytest.mark.etcd


@pytest.fixture
def leadership(store: Store) -> Leadership:
    leadership = Leadership(store, "n1", ttl_s=60)
    assert leadership.campaign() is not None
    return leadership


def test_request_progress_and_answer(store: Store, leadership: Leadership) -> None:
    requests, inbox = Requests(store), RequestQueue(store, leadership)
    ticket = requests.submit("fence", {"target": "n2"})
    (request,) = inbox.take()
    assert (request.id, request.kind, request.body) == (ticket.id, "fence", {"target": "n2"})
    assert "@" in request.by
    steps: list[object] = []

    def lead() -> None:
        inbox.progress(request.id, "cut")
        wait_until(lambda: steps)
        inbox.answer(request.id, {"outcome": "succeeded"})

    leader = threading.Thread(target=lead)
    leader.start()
    assert requests.wait(ticket, 30, steps.append) == {"outcome": "succeeded"}
    leader.join()
    assert steps == ["cut"]


def test_requests_are_taken_once_and_in_order(store: Store, leadership: Leadership) -> None:
    requests, inbox = Requests(store), RequestQueue(store, leadership)
    tickets = [requests.submit("move", number) for number in range(3)]
    assert [request.id for request in inbox.take()] == [ticket.id for ticket in tickets]
    assert inbox.take() == []


def test_a_refusal_carries_its_sentence_and_exit_code(store: Store, leadership: Leadership) -> None:
    requests, inbox = Requests(store), RequestQueue(store, leadership)
    ticket = requests.submit("move", {})
    for request in inbox.take():
        inbox.refuse(request.id, "there is no resource 'db'", 105)
    with pytest.raises(RequestRefused, match="there is no resource 'db'") as refusal:
        requests.wait(ticket, 30)
    assert refusal.value.exit_code == 105


def test_waiting_says_how_far_a_request_came(store: Store, leadership: Leadership) -> None:
    requests, inbox = Requests(store), RequestQueue(store, leadership)
    ticket = requests.submit("move", {})
    inbox.take()
    with pytest.raises(RequestTimeout, match="leader on n1 took the request"):
        requests.wait(ticket, 0.1)


def test_a_request_that_nobody_took_in_time_is_never_carried_out(store: Store, leadership: Leadership) -> None:
    """Whoever was told that nobody leads goes on to something else: a fence must not come after that."""
    requests, inbox = Requests(store), RequestQueue(store, leadership)
    ticket = requests.submit("fence", {"target": "n2"})
    with pytest.raises(RequestTimeout, match=r"no leader took the request .* nothing was done"):
        requests.wait(ticket, 0.1)
    assert inbox.take() == []


def test_only_what_nobody_has_taken_can_be_called_off(store: Store, leadership: Leadership) -> None:
    requests, inbox = Requests(store), RequestQueue(store, leadership)
    waiting = requests.submit("move", {})
    assert requests.call_off(waiting)
    assert inbox.take() == []
    taken = requests.submit("move", {})
    (request,) = inbox.take()
    assert not requests.call_off(taken)
    inbox.answer(request.id, "done")
    assert requests.wait(taken, 30) == "done"


def test_requests_and_their_answers_vanish_with_the_requester(store: Store, leadership: Leadership) -> None:
    requests, inbox = Requests(store), RequestQueue(store, leadership)
    abandoned = requests.submit("move", {})
    store.revoke(abandoned.lease)
    assert inbox.take() == []
    gone = requests.submit("move", {})
    (request,) = inbox.take()
    store.revoke(gone.lease)
    inbox.answer(request.id, "nobody listens")
    assert store.read("requests/").values == store.read("responses/").values == {}


def test_only_the_leader_takes(store: Store, leadership: Leadership) -> None:
    ticket = Requests(store).submit("move", {})
    store.transact(deletes=["leader"])
    with pytest.raises(Deposed):
        RequestQueue(store, leadership).take()
    successor = Leadership(store, "n2")
    assert successor.campaign() is not None
    assert [request.id for request in RequestQueue(store, successor).take()] == [ticket.id]


def test_event_log_is_bounded_numbered_and_continued_by_the_next_leader(store: Store, leadership: Leadership) -> None:
    log = EventLog(store, leadership, keep=5)
    log.append("a", "b", "c")
    log.append("d")
    assert read_events(store) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    leadership.resign()
    successor = Leadership(store, "n2")
    assert successor.campaign() is not None
    next_log = EventLog(store, successor, keep=5)
    next_log.append("e", "f", "g")
    assert read_events(store) == [(3, "c"), (4, "d"), (5, "e"), (6, "f"), (7, "g")]
    with pytest.raises(Deposed):
        log.append("late")
