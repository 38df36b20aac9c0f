"""Renders the tables of exit codes and of requests into the pages that have them.

`make docs` writes them; with `--check` nothing is written, and exit code 1 says that a page is out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hamgr.api.exits import WHEN, name_of

DOCS = Path(__file__).parents[1] / "docs"


def main() -> int:
    stale = []
    for page, name, table in ((DOCS / "reference-cli.md", "exit codes", exit_codes()),):
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


if __name__ == "__main__":
    sys.exit(main())
