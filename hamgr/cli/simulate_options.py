"""The options of ``hamgr simulate``: a table of them, and what reads a command line by it.

Of its own because each answer is a process, and argparse alone would take a third of that process's time.
"""

from __future__ import annotations

from hamgr.api.exits import Exit
from hamgr.cli.exits import CommandError

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = "usage: hamgr simulate [OPTION ...] CIB.xml|FILE.yaml|--live"
PURPOSE = "Show what the cluster would do: current status, what changes, its execution, status afterwards."

# option: (what its value stands for, or "" for a switch, or "a|b" for a choice; what it does)
TABLE = {
    "--help": ("", "show this and stop (also -h)"),
    "--live": ("", "what the running cluster would do now"),
    "--config": ("FILE", "hamgrd's settings file, for --live"),
    "--output": ("text|json", "for people (the default) or for programs"),
    "--at": ("TIME", "decide as of this time (ISO 8601)"),
    "--node-up": ("NODE", "as if the node came up (may be given again, as the next three)"),
    "--node-down": ("NODE", "as if it left cleanly"),
    "--node-fail": ("NODE", "as if it was lost"),
    "--op-fail": ("RSC_OP_INTERVAL@NODE=RC", "as if the operation ended with this exit code"),
    "--show-scores": ("", "also each resource's score on each node"),
    "--why": ("RESOURCE", "say why this resource goes where it goes"),
}


class Options:
    """What was asked for; empty where it was not."""

    def __init__(self, files: Sequence[str], given: dict[str, list[str]]) -> None:
        def last(option: str) -> str:
            return given.get(option, [""])[-1]

        self.file = files[0] if files else ""
        self.help = "--help" in given
        self.live = "--live" in given
        self.config = last("--config")
        self.output = last("--output") or "text"
        self.at = last("--at")
        self.node_up = given.get("--node-up", [])
        self.node_down = given.get("--node-down", [])
        self.node_fail = given.get("--node-fail", [])
        self.op_fail = given.get("--op-fail", [])
        self.show_scores = "--show-scores" in given
        self.why = last("--why")


def parse(arguments: Sequence[str]) -> Options:
    """Read a command line; raises `CommandError` (USAGE) when it is none."""
    files: list[str] = []
    given: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            files += rest
            break
        if argument == "-" or not argument.startswith("-"):  # "-" is standard input
            files.append(argument)
            continue
        written, equals, value = argument.partition("=")
        option = _full_name(written)
        stands_for = TABLE[option][0]
        if equals and not stands_for:
            raise CommandError(f"{option} takes no value", Exit.USAGE)
        if stands_for and not equals:
            if not rest:
                raise CommandError(f"{option} needs a value: {option} {stands_for}", Exit.USAGE)
            value = rest.pop(0)
        if stands_for and not value:
            raise CommandError(f"{option} needs a value: {option} {stands_for}", Exit.USAGE)
        if "|" in stands_for and value not in stands_for.split("|"):
            raise CommandError(f'{option} "{value}": choose one of {stands_for}', Exit.USAGE)
        given.setdefault(option, []).append(value)
    if len(files) > 1:
        raise CommandError(f"one file at a time: {' '.join(files)}", Exit.USAGE)
    return Options(files, given)


def _full_name(written: str) -> str:
    """An option's name, which may be shortened as long as it stays unique."""
    if written == "-h":
        return "--help"
    found = [name for name in TABLE if name == written] or [
        name for name in TABLE if len(written) > 2 and name.startswith(written)
    ]
    if len(found) != 1:
        what = f"could be {' or '.join(found)}" if found else "is no option; --help lists them"
        raise CommandError(f"{written} {what}", Exit.USAGE)
    return found[0]


def help_text() -> str:
    """What ``hamgr simulate --help`` prints."""
    lines = [(f"{name} {stands_for}".rstrip(), what) for name, (stands_for, what) in TABLE.items()]
    width = max(len(left) for left, _ in lines)
    told = "".join(f"  {left:{width}}  {what}\n" for left, what in lines)
    return f"{USAGE}\n\n{PURPOSE}\n\nCIB.xml is a Pacemaker CIB, FILE.yaml a cluster file.\n\n{told}"
