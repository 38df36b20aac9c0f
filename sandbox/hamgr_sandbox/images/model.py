"""What every image of the sandbox says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


class ImageMissing(Exception):
    """The name means nothing here, or what the image needs is not installed; the message is for the pod's events."""


def _nothing() -> None:
    """Most images need no preparation."""


@dataclass(frozen=True, slots=True)
class Image:
    """Entry point, default command and variables, as in an image's configuration.

    ``views`` are files of this machine that its containers must see, as (source, target), read-only. ``volumes`` are
    directories that are empty at first unless the container mounts something there: this machine's own never show
    through. ``prepare`` makes what the image needs (it blocks; raises ImageMissing); ``prepared`` tells whether that
    has been done.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    views: tuple[tuple[str, str], ...] = ()
    volumes: tuple[str, ...] = ()
    prepare: Callable[[], None] = _nothing
    prepared: Callable[[], bool] = lambda: True
