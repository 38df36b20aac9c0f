"""What can go wrong with a sandbox as a whole: a sentence for people and the exit code that goes with it."""

from hamgr.api.exits import Exit


class SandboxError(Exception):
    """A sandbox command cannot be carried out; the text says why and what to do about it."""

    def __init__(self, text: str, code: int = Exit.ERROR) -> None:
        super().__init__(text)
        self.code = code
