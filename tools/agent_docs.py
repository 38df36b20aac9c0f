"""Renders the agents' metadata to docs/agents.md, so that the page cannot say anything else than the agents do.

`make docs` writes the page; with `--check` nothing is written, and exit code 1 says that it is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hamgr.executor.metadata import Metadata, Parameter
from hamgr.executor.registry import Registry

PAGE = Path(__file__).parents[1] / "docs" / "agents.md"
OWN_PACKAGE = "hamgr_agents."

_HEAD = """\
<!-- Rendered from the agents' metadata by `make docs`; do not edit. -->
# Resource agents

What may stand under `agent:` in the cluster file, with each agent's `params:` and the operations it advises: those
count where the file sets none. `hamgr verify FILE` checks names and types, with `--show` it lists what came of it.

An agent answers with OCF's exit codes: 0 done or running, 7 not running, 1 failed, 2 wrong parameter, 5 not installed,
6 not configured, and for promotable ones 8 and 9.

A package of your own can bring agents: subclass `hamgr.executor.agent.Agent` and name it under the entry point group
`hamgr.agents`.
"""


def main() -> int:
    page = render()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page)
        return 0
    if PAGE.exists() and PAGE.read_text() == page:
        return 0
    print(f"{PAGE} does not say what the agents say of themselves: run `make docs`", file=sys.stderr)
    return 1


def render() -> str:
    """The whole page, for the agents that come with hamgr."""
    registry = Registry()
    agents = [registry.get(name) for name in registry.names()]
    own = [agent.metadata for agent in agents if type(agent).__module__.startswith(OWN_PACKAGE)]
    return "\n".join([_HEAD, *(_agent(metadata) for metadata in own)])


def _agent(metadata: Metadata) -> str:
    lines = [f"## {metadata.name}", "", f"{metadata.shortdesc}.", "", metadata.longdesc, ""]
    for group in metadata.exactly_one_of:
        lines += [f"Exactly one of {', '.join(f'`{name}`' for name in group)} is needed.", ""]
    lines += ["| parameter | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [_parameter(parameter) for parameter in metadata.parameters]
    lines += ["", "| operation | timeout | interval |", "| --- | --- | --- |"]
    for action in metadata.actions:
        interval = f"{action.interval_s:g} s" if action.interval_s else ""
        role = f" ({action.role})" if action.role else ""
        lines.append(f"| {action.name}{role} | {action.timeout_s:g} s | {interval} |")
    return "\n".join(lines) + "\n"


def _parameter(parameter: Parameter) -> str:
    kind = ", ".join(parameter.choices) if parameter.choices else parameter.type
    default = "required" if parameter.required else "" if parameter.default is None else f"`{parameter.default}`"
    marks = [word for word, holds in (("unique", parameter.unique), ("reloadable", parameter.reloadable)) if holds]
    meaning = " ".join(parameter.description.split()).replace("|", "\\|")
    suffix = f" ({', '.join(marks)})" if marks else ""
    return f"| `{parameter.name}` | {kind} | {default} | {meaning}{suffix} |"


if __name__ == "__main__":
    sys.exit(main())
