"""What an image name means on this machine: which programs a container of it runs, and what must be prepared before.

There is no registry and nothing is downloaded. A few names stand for applications that the sandbox knows how to run
(``mariadb``, ``hamgr/kvapp``); every other name is an empty image over the machine's own programs, so its container
must say its command. Names whose registry ends in ``.invalid`` are never found, to show what Kubernetes does then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hamgr_sandbox.images import kvapp, mariadb
from hamgr_sandbox.images.model import Image, ImageMissing

__all__ = ["Image", "ImageMissing", "Images"]

_KNOWN: Mapping[str, Callable[[Path], Image]] = {"mariadb": mariadb.image, "kvapp": kvapp.image}


@dataclass
class Images:
    """The images of one node. ``store`` keeps what they prepare; nodes of one sandbox may share it."""

    store: Path
    _found: dict[str, Image] = field(default_factory=dict)

    def find(self, reference: str, *, has_command: bool) -> Image:
        """The image of that name. Raises ImageMissing, as a registry's answer, when the name means nothing here."""
        if not reference:
            raise ImageMissing("the container names no image")
        name = short_name(reference)
        registry = reference.split("/")[0] if "/" in reference else ""
        if registry.partition(":")[0].endswith(".invalid"):
            raise ImageMissing(f'failed to resolve reference "{reference}": lookup {registry}: no such host')
        if name in _KNOWN:
            if name not in self._found:
                self._found[name] = _KNOWN[name](self.store / name)
            return self._found[name]
        if not has_command:
            known = ", ".join(sorted(_KNOWN))
            raise ImageMissing(
                f'failed to resolve reference "{reference}": not found; the sandbox knows {known}, '
                "and any name for a container that gives its command"
            )
        return Image()


def short_name(reference: str) -> str:
    """``docker.io/library/mariadb:10.11@sha256:...`` -> ``mariadb``."""
    return re.split(r"[:@]", reference.rsplit("/", 1)[-1])[0]
