"""Records are made cheaply, and yet are what `dataclasses` says of frozen, slotted dataclasses."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Mapping

import pytest

from hamgr.cib.records import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere."""

    name: str
    score: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    def better(self) -> Place:
        return replace(self, score=self.score + 1)


@dataclass(frozen=True, slots=True)
class Other:
    name: str
    score: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


def test_made_by_position_and_by_name() -> None:
    assert Place("a", 5) == Place(score=5, name="a")
    assert Place("a").labels == {}
    assert Place("a").labels is not Place("a").labels
    assert Place.__doc__ == "Somewhere."


@pytest.mark.parametrize(
    ("positional", "named", "wrong"),
    [
        ((), {}, "name"),
        (("a",), {"colour": "red"}, "colour"),
        (("a", 1, {}, "more"), {}, "too many"),
        (("a",), {"name": "b"}, "too many"),
    ],
)
def test_wrong_values_are_refused(positional: tuple[object, ...], named: dict[str, object], wrong: str) -> None:
    with pytest.raises(TypeError, match=wrong):
        Place(*positional, **named)  # type: ignore[arg-type]


def test_equal_by_class_and_value() -> None:
    assert Place("a", 1) != Place("a", 2)
    assert Place("a", 1) != Other("a", 1)
    assert len({Place("a", 1, ()), Place("a", 1, ()), Place("b", 1, ())}) == 2  # type: ignore[arg-type]
    assert repr(Place("a", 1)) == "Place(name='a', score=1, labels={})"


def test_never_changed() -> None:
    place = Place("a")
    with pytest.raises(dataclasses.FrozenInstanceError, match="score"):
        place.score = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        del place.name  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        place.unknown = 1  # type: ignore[attr-defined]
    assert place.better() == Place("a", 1)
    assert place == Place("a")


def test_the_standard_library_sees_a_dataclass() -> None:
    place = Place("a", 1, {"x": "y"})
    assert dataclasses.is_dataclass(place)
    assert [(f.name, f.default) for f in dataclasses.fields(Place)][:2] == [("name", dataclasses.MISSING), ("score", 0)]
    assert [f.name for f in dataclasses.fields(Other)] == ["name", "score", "labels"]
    assert dataclasses.asdict(place) == {"name": "a", "score": 1, "labels": {"x": "y"}}
    assert dataclasses.replace(place, name="b") == Place("b", 1, {"x": "y"})


def test_copied_pickled_and_matched() -> None:
    place = Place("a", 1, {"x": "y"})
    assert copy.deepcopy(place) == place
    assert pickle.loads(pickle.dumps(place)) == place
    match place:
        case Place(name, score):
            assert (name, score) == ("a", 1)
        case _:
            pytest.fail("a record did not match its own class")
