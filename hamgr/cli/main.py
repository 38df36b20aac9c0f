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

# verb: (module, attribute, one line for the list of commands)
VERBS: dict[str, tuple[str, str, str]] = {
    "status": ("hamgr.cli.status", "status", "Show the cluster: nodes, resources, failures, fencing."),
    "apply": ("hamgr.cli.apply", "apply", "Make a cluster file the cluster's configuration."),
    "verify": ("hamgr.cli.apply", "verify", "Check a cluster file without changing anything."),
    "import": ("hamgr.cli.import_", "import_", "Turn a Pacemaker configuration into a cluster file."),
    "events": ("hamgr.cli.events", "events", "Show what the cluster decided and why."),
    "fence": ("hamgr.cli.fence", "fence", "Make sure that a node or a pod cannot write any more."),
    "unfence": ("hamgr.cli.fence", "unfence", "Let a fenced node take part again."),
    "move": ("hamgr.cli.place", "move", "Move a resource to a node."),
    "ban": ("hamgr.cli.place", "ban", "Keep a resource off a node."),
    "clear": ("hamgr.cli.place", "clear", "Undo moves and bans of a resource."),
    "cleanup": ("hamgr.cli.resources", "cleanup", "Forget failures and look again at what is running."),
    "enable": ("hamgr.cli.resources", "enable", "Let a resource run."),
    "disable": ("hamgr.cli.resources", "disable", "Stop a resource and keep it stopped."),
    "manage": ("hamgr.cli.resources", "manage", "Let the cluster look after a resource again."),
    "unmanage": ("hamgr.cli.resources", "unmanage", "Leave a resource as it is, running or not."),
    "standby": ("hamgr.cli.nodes", "standby", "Move everything off a node."),
    "unstandby": ("hamgr.cli.nodes", "unstandby", "Let resources onto a node again."),
    "maintenance": ("hamgr.cli.nodes", "maintenance", "Leave a node, or all of the cluster, alone (on|off)."),
    "sandbox": ("hamgr_sandbox.cli", "sandbox", "Run an embedded cluster on this machine."),
}
SIMULATE_SUMMARY = "Show what the cluster would do, from a file or live."


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
