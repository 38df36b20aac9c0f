"""What can go wrong between hamgr and etcd, each as a sentence that says what is wrong and what to do.

`exit_code` is what a command ends with when nobody handles the error.
"""

from __future__ import annotations

from hamgr.api.exits import Exit


class StoreError(Exception):
    """Base of everything that this package raises on purpose."""

    exit_code = Exit.ERROR


class StoreUnavailable(StoreError):
    """No member of etcd gave an answer in time. Whether a write took effect is unknown; repeating it is safe."""

    exit_code = Exit.UNAVAILABLE


class StoreAuthError(StoreError):
    """etcd answered, and turned us away: user, password or role."""

    exit_code = Exit.NO_PERMISSION


class StoreConfigError(StoreError):
    """The settings cannot work, whatever etcd does: wrong file, wrong certificate, contradicting options."""

    exit_code = Exit.CONFIG


class CompareFailed(StoreError):
    """A write was refused because a key is not as the writer believed; nothing was written."""


class Deposed(StoreError):
    """We are not the leader any more (or may not be: the lease's time is up). Nothing was written; step down now."""


class DuplicateMember(StoreError):
    """Another live hamgrd holds this node's name."""

    exit_code = Exit.CONFIG


class LeaseLost(StoreError):
    """The lease that a key was to hang on has expired or was revoked."""


class RequestTimeout(StoreError):
    """The leader gave no answer to a request within the time allowed."""

    exit_code = Exit.TIMEOUT
