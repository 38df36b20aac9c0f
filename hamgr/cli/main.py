"""The `hamgr` command: finds the verb, and imports only what that verb needs.

`hamgr simulate` and `hamgr sandbox` bring their own argument handling; everything else is a click command that is
imported when it is called, so that no command pays for another one's imports.
"""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (docs/reference-cli.md)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    simulated = _arguments_of_simulate(arguments)
    if simulated is not None:
        gc.disable()  # a process that gives one answer and ends needs it as little for its imports as for the answer
        from hamgr.cli import simulate

        code = simulate.main(simulated)
        gc.freeze()  # nor is there anything worth looking for at the end
        return code
    from hamgr.cli.group import run

    return run(arguments)


def _arguments_of_simulate(arguments: list[str]) -> list[str] | None:
    """The arguments in `hamgr [--config FILE] simulate ...`; None for any other verb."""
    general = 2 if arguments[:1] == ["--config"] else int(bool(arguments) and arguments[0].startswith("--config="))
    if arguments[general : general + 1] != ["simulate"]:
        return None
    return arguments[:general] + arguments[general + 1 :]


if __name__ == "__main__":
    sys.exit(main())
