"""The image ``hamgr/kvapp``: the key-value application of the sandbox, on the Python that runs the sandbox itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hamgr
from hamgr_sandbox.images.model import Image


def image(_: Path) -> Image:
    """The image; its data are expected on a volume at /data, and it listens on port 6380."""
    return Image(
        entrypoint=(sys.executable, "-m", "hamgr_sandbox.kvapp"),
        command=("--data", "/data", "--port", "6380"),
        env={"PYTHONPATH": str(_package_root()), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
        volumes=("/data",),
        views=tuple((str(path), str(path)) for path in _elsewhere()),
    )


def _package_root() -> Path:
    return Path(next(iter(hamgr.__path__))).resolve().parent


def _elsewhere() -> list[Path]:
    """Parts of the Python installation that lie on another file system than /, which containers do not see."""
    root = os.stat("/").st_dev
    parts = {Path(sys.prefix), Path(sys.base_prefix), _package_root()}
    return [path for path in sorted(parts) if path.stat().st_dev != root]
