"""YAML as written: values that remember where they stand, so that every complaint can name its line.

Scalars stay the text they were written as, and their type comes from what is asked of them: a mode of ``0755``, a
version of ``1.10`` or a country of ``no`` means what it says. Only what is handed on whole (an inline pod template)
gets types, by the rules of YAML 1.2's core schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

MAX_CHARACTERS = 1_000_000  # etcd takes no value above 1.5 MiB
MAX_DEPTH = 50
MAX_VALUES = 100_000  # counted after aliases have been followed

_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file; lines and columns count from 1."""

    file: str
    line: int
    column: int
    path: str  # "resources[0].params.claim"; empty: the file as a whole
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(Exception):
    """A file cannot be used; `problems` has everything that is wrong with it, in the order of its lines."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Scalar(str):
    """A scalar as written. `typed` is its value by YAML 1.2's core schema; quoted scalars are always text."""

    typed: Any

    def __new__(cls, text: str, *, quoted: bool = False) -> Scalar:
        self = super().__new__(cls, text)
        self.typed = text if quoted else _core_schema(text)
        return self


def _core_schema(text: str) -> Any:
    lowered = text.lower() if text in (text.lower(), text.upper(), text.title()) else text
    if lowered in _WORDS:
        return _WORDS[lowered]
    if _INT.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text


def typed(value: Any) -> Any:
    """A value and all that is in it with YAML's own types in place of text as written."""
    if isinstance(value, dict):
        return {str(key): typed(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed(entry) for entry in value]
    return value.typed if isinstance(value, Scalar) else value


@dataclass
class Source:
    """A YAML document with the place of each of its keys and values."""

    file: str
    value: Any = None
    values: dict[Path, Any] = field(default_factory=dict)  # YAML's marks
    keys: dict[Path, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def complain(self, path: Path, message: str, *, at_key: bool = False) -> None:
        """Note a problem at what stands at `path`, or at the nearest thing around it that was written."""
        self.problems.append(self.problem(path, message, at_key=at_key))

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """A problem at what stands at `path`, or at the nearest thing around it that was written."""
        marks = self.keys if at_key and path in self.keys else self.values
        written = path
        while written and written not in marks:
            written = written[:-1]
        line, column = _position(marks.get(written))
        return Problem(self.file, line, column, render_path(path), message)


def render_path(path: Path) -> str:
    """``("resources", 0, "params")`` as ``resources[0].params``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_yaml(text: str, filename: str) -> Source:
    """Read one YAML document; keys given twice are noted as problems. Raises ConfigError when it cannot be read."""
    source = Source(filename)
    if len(text) > MAX_CHARACTERS:
        raise ConfigError([Problem(filename, 1, 1, "", f"the file has more than {MAX_CHARACTERS} characters")])
    try:
        _refuse_depth(text, filename)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, filename)]) from None
    except yaml.YAMLError as error:  # characters that YAML does not allow
        raise ConfigError([Problem(filename, 1, 1, "", f"this is not YAML: {error}".replace("\n", " "))]) from None
    if node is not None:
        _Builder(source).build(node)
    return source


def _refuse_depth(text: str, filename: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line, column = _position(event.start_mark)
            raise ConfigError([Problem(filename, line, column, "", f"nested more than {MAX_DEPTH} levels deep")])


def _position(mark: Any) -> tuple[int, int]:
    """YAML's mark, which counts from 0, as line and column, which count from 1."""
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _syntax_problem(error: yaml.MarkedYAMLError, filename: str) -> Problem:
    line, column = _position(error.problem_mark or error.context_mark)
    what = ", ".join(part for part in (error.problem, error.context) if part)
    return Problem(filename, line, column, "", f"this is not YAML: {what}")


class _Builder:
    """Turns nodes into dicts, lists and `Scalar`s and notes where each came from."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._count = 0

    def build(self, node: yaml.Node) -> None:
        self._source.value = self._value(node, ())

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._source.values[path] = node.start_mark
        self._count += 1
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            message = "its aliases (*name) expand to too many values"
            raise ConfigError([self._source.problem(path[:3], message)])
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(entry, (*path, index)) for index, entry in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        scalar = Scalar(node.value, quoted=node.style in ("'", '"', "|", ">"))
        return None if scalar.typed is None else scalar

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        first: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._source.values[(*path, "?")] = key_node.start_mark
                self._source.complain((*path, "?"), "a key must be plain text")
                continue
            key = key_node.value
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged |= self._merge(value_node, path)
                continue
            self._source.keys[(*path, key)] = key_node.start_mark
            if key in first:
                message = f"the key '{key}' is here twice; its first use is in line {first[key].line + 1}"
                self._source.complain((*path, key), message, at_key=True)
                continue
            first[key] = key_node.start_mark
            mapping[key] = self._value(value_node, (*path, key))
        return merged | mapping

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        """The merge key ``<<: *name`` or ``<<: [*a, *b]``, where earlier mappings win."""
        merged: dict[str, Any] = {}
        for source in reversed(list(_merge_sources(node))):
            if isinstance(source, yaml.MappingNode):
                merged |= self._mapping(source, path)
            else:
                self._source.values[(*path, "<<")] = source.start_mark
                self._source.complain((*path, "<<"), "only a mapping can be merged in")
        return merged


def _merge_sources(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    else:
        yield node
