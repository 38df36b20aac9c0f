"""YAML as written: places, types, duplicates, and documents made to hurt."""

import re

import pytest

from hamgr.clusterfile.source import MAX_CHARACTERS, ConfigError, Scalar, read_yaml, typed


def test_scalars_stay_what_was_written_and_know_their_type():
    source = read_yaml("{mode: 0755, version: 1.10, country: no, on: true, nothing: , word: '5'}", "f")
    assert source.value == {
        "mode": "0755",
        "version": "1.10",
        "country": "no",
        "on": "true",
        "nothing": None,
        "word": "5",
    }
    assert typed(source.value) == {
        "mode": 755,
        "version": 1.1,
        "country": "no",
        "on": True,
        "nothing": None,
        "word": "5",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("1e3", 1000.0),
        ("True", True),
        ("tRue", "tRue"),
        ("~", None),
        ("5s", "5s"),
        ("1:30", "1:30"),
    ],
)
def test_core_schema(text, value):
    assert Scalar(text).typed == value
    assert Scalar(text, quoted=True).typed == text


def test_problems_point_at_what_was_written():
    source = read_yaml("a:\n  - b: 1\n    c: 2\n", "file.yaml")
    assert str(source.problem(("a", 0, "c"), "no")) == "file.yaml:3:8: a[0].c: no"
    assert str(source.problem(("a", 0, "c"), "no", at_key=True)) == "file.yaml:3:5: a[0].c: no"
    assert source.problem(("a", 0, "missing", "deeper"), "no").line == 2


def test_a_key_given_twice_is_named_with_its_first_line():
    source = read_yaml("a: 1\nb: 2\na: 3\n", "f")
    assert [str(problem) for problem in source.problems] == [
        "f:3:1: a: the key 'a' is here twice; its first use is in line 1"
    ]
    assert source.value == {"a": "1", "b": "2"}


def test_merge_keys_and_aliases_work():
    source = read_yaml("base: &base {x: 1, y: 2}\nmine: {<<: *base, y: 3}\nboth: {<<: [*base, {x: 9, z: 8}]}\n", "f")
    assert source.value["mine"] == {"x": "1", "y": "3"}
    assert source.value["both"] == {"x": "1", "y": "2", "z": "8"}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1, }", "f:1:8: this is not YAML"),
        ("a: 1\n\tb: 2", "f:2:1: this is not YAML"),
        ("[" * 60 + "]" * 60, "f:1:51: nested more than 50 levels"),
        ("- " * 60 + "x", "f:1:101: nested more than 50 levels"),
        ("a: &a [*a]", "expand to too many values"),
        (BOMB, "expand to too many values"),
        ("a: " + "x" * MAX_CHARACTERS, "more than 1000000 characters"),
        ("a: \x00", "this is not YAML"),
        ("a: 1\n---\nb: 2\n", "this is not YAML"),
        ("a: !!python/object:os.system x", None),
    ],
)
def test_hostile_documents_end_in_a_sentence(text, complaint):
    if complaint is None:
        assert read_yaml(text, "f").value == {"a": "x"}  # a tag is text to us, nothing is constructed
        return
    with pytest.raises(ConfigError) as raised:
        read_yaml(text, "f")
    assert complaint in str(raised.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 2000 + "]" * 2000, "{a: " * 2000, "- " * 100_000])
def test_nesting_without_end_is_refused_with_its_place(text):
    """The library may give up on it before hamgr counts: whichever it is, one line says where."""
    with pytest.raises(ConfigError) as raised:
        read_yaml(text, "f")
    (problem,) = raised.value.problems
    assert problem.line == 1
    assert problem.column > 1
    assert re.fullmatch(r"f:1:\d+: \S.*", str(raised.value))
