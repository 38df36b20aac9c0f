"""Renders the tables of exit codes and of requests into the pages that have them.

`make docs` writes them; with `--check` nothing is written, and exit code 1 says that a page is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from hamgr.api.exits import WHEN, name_of
from hamgr.api.requests import KINDS, Request
from hamgr.api.wire import hints_of

DOCS = Path(__file__).parents[1] / "docs"


def main() -> int:
    stale = []
    places = (("reference-cli.md", "exit codes", exit_codes()), ("architecture.md", "requests", requests()))
    for page, name, table in ((DOCS / file, name, table) for file, name, table in places):
        before = page.read_text()
        after = replaced(before, name, table)
        if after != before:
            stale.append(page.name)
            if "--check" not in sys.argv[1:]:
                page.write_text(after)
    if not stale or "--check" not in sys.argv[1:]:
        return 0
    print(f"{', '.join(stale)}: a table does not say what the code does: run `make docs`", file=sys.stderr)
    return 1


def replaced(page: str, name: str, table: str) -> str:
    """The page with this table between the marks that are named so."""
    begin, end = f"<!-- {name}: made by `make docs` -->\n", f"<!-- end of {name} -->"
    found = re.search(rf"({re.escape(begin)}).*?({re.escape(end)})", page, re.DOTALL)
    if found is None:
        raise SystemExit(f"there is no place for the table of {name}")
    return f"{page[: found.end(1)]}{table}{page[found.start(2) :]}"


def exit_codes() -> str:
    """The table of exit codes."""
    rows = [f"| {code} | {name_of(code)} | {when} |" for code, when in WHEN.items()]
    return "\n".join(["| code | name | when |", "| --- | --- | --- |", *rows, ""])


def requests() -> str:
    """The table of requests, with their bodies and answers, and of what the answers have in them."""
    rows = [
        f"| `{kind}` | {_fields(request)} | {_fields(request.answer)} | {_verbs(request)}{_doc(request)} |"
        for kind, request in KINDS.items()
    ]
    parts: dict[str, type] = {}
    for request in KINDS.values():
        _collect(request.answer, parts)
    rows_of_parts = [f"| {name} | {_fields(part)} | {_doc(part)} |" for name, part in parts.items()]
    head = ["| kind | body | answer | what it does |", "| --- | --- | --- | --- |"]
    below = ["", "| part of an answer | | |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, *below, *rows_of_parts, ""])


def _fields(cls: type) -> str:
    hints = hints_of(cls)
    shown = [f"{item.name}: {_word(hints[item.name])}{_default(item)}" for item in fields(cls)]
    return f"`{{{', '.join(shown)}}}`"


def _default(item: Field[Any]) -> str:
    return "" if item.default is MISSING or isinstance(item.default, tuple) else f" = {json.dumps(item.default)}"


def _word(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"[{_word(get_args(hint)[0])}, ...]"
    if get_origin(hint) is Mapping:
        return f"{{{_word(get_args(hint)[0])}: {_word(get_args(hint)[1])}}}"
    if get_args(hint):
        return " or ".join(_word(one) for one in get_args(hint))
    words = {str: "text", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return words.get(hint) or str(hint.__name__)


def _collect(cls: type, found: dict[str, type]) -> None:
    """The dataclasses that an answer is made of, itself not among them."""
    for hint in hints_of(cls).values():
        for part in get_args(hint):
            if is_dataclass(part):
                found[part.__name__] = part
                _collect(part, found)


def _verbs(request: type[Request[Any]]) -> str:
    names = [f"`hamgr {verb.name}`" for verb in request.verbs]
    return f"{', '.join(names)}: " if names else ""


def _doc(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split())


if __name__ == "__main__":
    sys.exit(main())
