"""Exit codes of `hamgr` and `hamgrd`; the numbers are Pacemaker's CRM_EX_*.

Plain numbers, because `hamgr simulate` is a process for each answer and an enum takes longer to import than that has.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping


class Exit:
    """What a command ends with."""

    OK = 0
    ERROR = 1
    USAGE = 64
    NO_INPUT = 66
    NO_HOST = 68
    UNAVAILABLE = 69
    NO_PERMISSION = 77
    CONFIG = 78
    NO_OBJECT = 105
    TIMEOUT = 124
    INTERRUPTED = 130


WHEN: Mapping[int, str] = {
    Exit.OK: "done",
    Exit.ERROR: "the cluster tried and failed (a fence without proof), or a defect of hamgr's",
    Exit.USAGE: "wrong command line; a question that needs `--yes` where there is no terminal",
    Exit.NO_INPUT: "a file that was named cannot be read",
    Exit.NO_HOST: "there is no such node",
    Exit.UNAVAILABLE: "etcd or the API server cannot be reached; a fence or a confirmation that is refused for now "
    "(a stale view, a node that shows life)",
    Exit.NO_PERMISSION: "etcd or the API server turned us away: user, password, rights",
    Exit.CONFIG: "wrong settings, cluster file, certificates or kubeconfig; another live hamgrd holds this node's "
    "name; command and leader of versions that do not understand each other",
    Exit.NO_OBJECT: "there is no such resource, pod or cluster",
    Exit.TIMEOUT: "no answer in time (20 s; `fence`: `--timeout`). A request that no leader has taken is called off, "
    "also by Ctrl-C; one that was taken may still be carried out, and the message says so",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}
"""When a command ends with which code, for docs/reference-cli.md."""


def name_of(code: int) -> str:
    """A code's name."""
    return next(name for name, value in vars(Exit).items() if value == code and name.isupper())
