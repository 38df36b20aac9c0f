"""What can go wrong with a sandbox as a whole: a sentence for people and the exit code that goes with it."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `hamgr sandbox`, Pacemaker's CRM_EX numbers."""

    ERROR = 1
    USAGE = 64
    NO_SUCH_NODE = 68
    UNAVAILABLE = 69
    NO_PERMISSION = 77
    CONFIG = 78
    NO_SUCH_OBJECT = 105
    TIMEOUT = 124


class SandboxError(Exception):
    """A sandbox command cannot be carried out; the text says why and what to do about it."""

    def __init__(self, text: str, code: Exit = Exit.ERROR) -> None:
        super().__init__(text)
        self.code = code
