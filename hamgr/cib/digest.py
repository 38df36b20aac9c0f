"""Digests of operation parameters: how a changed configuration is told from the one an operation ran with.

Pacemaker's "op-digest" is the MD5 of the parameters as one XML element with its attributes sorted by name. MD5 is part
of the recorded format here, not a protection against anybody.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping


try:
    # What hashlib falls back to: hashlib itself loads OpenSSL, which takes 3 ms.
    from _md5 import md5  # type: ignore[import-not-found]
except ImportError:
    from hashlib import md5

# Attributes of an action that say how it is carried out, not what it does.
_NOT_PARAMETERS = frozenset(
    ("id", "crm_feature_set", "op-digest", "on_node", "on_node_uuid", "pcmk_external_ip", "op_target_rc")
)
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


def digest(params: Mapping[str, str]) -> str:
    """MD5 (32 hex digits) of parameters as Pacemaker records it."""
    body = "".join(
        f' {name}="{value.translate(_ESCAPES)}"'
        for name, value in sorted(params.items())
        if name not in _NOT_PARAMETERS and not name.startswith("CRM_meta_")
    )
    return _md5(body)


def op_digest(params: Mapping[str, str], interval_ms: int, timeout_ms: int) -> str:
    """The digest recorded with an operation; that of a recurring one covers its timeout."""
    if interval_ms == 0:
        return digest(params)
    items = {k: v for k, v in params.items() if k not in _NOT_PARAMETERS and not k.startswith("CRM_meta_")}
    items["CRM_meta_timeout"] = str(timeout_ms)
    return _md5("".join(f' {name}="{value.translate(_ESCAPES)}"' for name, value in sorted(items.items())))


def _md5(body: str) -> str:
    return str(md5(f" <parameters{body}/>\n".encode(), usedforsecurity=False).hexdigest())


def restart_digest(params: Mapping[str, str], force_restart: str) -> str:
    """Digest of the parameters named in ``force_restart``: those whose change cannot be reloaded."""
    names = set(force_restart.split())
    return digest({name: value for name, value in params.items() if name in names})


def secure_digest(params: Mapping[str, str], private: str) -> str:
    """Digest of all parameters but the private ones, for histories whose secrets have been masked."""
    names = set(private.split())
    return digest({name: value for name, value in params.items() if name not in names})
