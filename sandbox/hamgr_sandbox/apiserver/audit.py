"""An audit log: one line of JSON a request for a resource, with who asked for what and whether it was allowed.

Like kube-apiserver's at level Metadata, reduced to what tells which rights a client uses and which it lacks.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from hamgr_sandbox.apiserver.auth import Attributes, User


class AuditLog:
    """Appends to a file, a line at once."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def note(self, user: User, wanted: Attributes, allowed: bool) -> None:
        """Write down one request."""
        self._file.write(json.dumps({"user": user.name, "allowed": allowed, **asdict(wanted)}) + "\n")

    def close(self) -> None:
        """Nothing is noted after this."""
        self._file.close()
