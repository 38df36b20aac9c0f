"""Renders docs/reference-options.md from the table of options and from the settings of hamgrd.

`make docs` writes the page; with `--check` nothing is written, and exit code 1 says that it is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hamgr.cib.options import CLONE, CLUSTER, GROUP, OPERATION, PRIMITIVE, Option
from hamgr.clusterfile.values import Duration
from hamgr.daemon.settings import DaemonSection, Settings

PAGE = Path(__file__).parents[1] / "docs" / "reference-options.md"

_DURATION = get_args(Duration)[1]  # by what a setting is known as one
_WORDS = {bool: "boolean", int: "integer", str: "text", Path: "path"}

_HEAD = """\
<!-- Rendered from hamgr/cib/options.py and hamgr/daemon/settings.py by `make docs`; do not edit. -->
# Options

Names and values are Pacemaker's; where Pacemaker has had several names, each is read, today's before the others. A
duration is a number and a unit (`500ms`, `10s`, `2min`, `1h`) or ISO 8601; a bare number is seconds. A score is a whole
number, `INFINITY` or `-INFINITY`. "read by" names the part of hamgr that goes by it.
"""

_UNUSED = """\
## Without effect
A cluster file may have these. They change nothing in a running cluster: `hamgr verify` and `hamgr apply` name them,
`hamgr import` names them and leaves them out.

| option | of | why |
| --- | --- | --- |
"""

_SETTINGS = """\
## Settings of hamgrd
`/etc/hamgr/hamgrd.yaml` on each node; `hamgrd --check` finds every mistake. Relative paths are meant from that file.
SIGHUP reads it again: `log` takes effect at once, the log names what else needs a restart.

| setting | value | default | meaning |
| --- | --- | --- | --- |
"""

_SECTIONS: tuple[tuple[str, str, Mapping[str, Option]], ...] = (
    ("Cluster options", "`options` of the cluster file.", CLUSTER),
    ("Meta-attributes of all resources", "`meta` of resources, and `defaults: {resources}`.", PRIMITIVE),
    ("Meta-attributes of groups and clones", "", GROUP),
    ("Meta-attributes of clones", "", CLONE),
    ("Properties of operations", "`operations` of resources, and `defaults: {operations}`.", OPERATION),
)


def main() -> int:
    page = render()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page)
        return 0
    if PAGE.exists() and PAGE.read_text() == page:
        return 0
    print(f"{PAGE} does not say what the options are: run `make docs`", file=sys.stderr)
    return 1


def render() -> str:
    """The whole page."""
    parts = [_HEAD, *(_section(*section) for section in _SECTIONS), _UNUSED + "\n".join(_unused()) + "\n"]
    return "\n".join([*parts, _SETTINGS + "\n".join(_settings(Settings)) + "\n"])


def _section(title: str, where: str, table: Mapping[str, Option]) -> str:
    lines = [f"## {title}", *([where, ""] if where else [])]
    lines += ["| option | value | default | read by | meaning |", "| --- | --- | --- | --- | --- |"]
    lines += [_row(option) for option in table.values() if not option.why_not]
    return "\n".join(lines) + "\n"


def _row(option: Option) -> str:
    also = f"<br>also {_names(option.aliases)}" if option.aliases else ""
    kind = ", ".join(f"`{choice}`" for choice in option.choices if choice) or option.kind
    default = f"`{option.default}`" if option.default else ""
    return f"| `{option.name}`{also} | {kind} | {default} | {option.used} | {option.doc} |"


def _unused() -> Iterator[str]:
    for title, _, table in _SECTIONS:
        kind = title[0].lower() + title[1:]
        for option in table.values():
            if option.why_not:
                yield f"| {_names((option.name, *option.aliases))} | {kind} | {option.why_not} |"


def _settings(section: type[DaemonSection], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, DaemonSection):
            yield from _settings(field.annotation, f"{key}.")
            continue
        default = "" if field.default in (PydanticUndefined, None, "", ()) else f"`{_plain(field.default)}`"
        required = "required" if field.is_required() else default
        yield f"| `{key}` | {_kind(field)} | {required} | {field.description} |"


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(str(one) for one in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kind(field: FieldInfo) -> str:
    """What may stand there, in an operator's words."""
    return "duration" if _DURATION in field.metadata else _words(field.annotation)


def _words(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    inner = [arg for arg in get_args(annotation) if arg not in (type(None), Ellipsis)]
    if get_origin(annotation) is tuple:
        return f"list of {_words(inner[0])}"
    return _words(inner[0]) if inner else _WORDS[annotation]


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.exit(main())
