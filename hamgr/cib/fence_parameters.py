"""What the names of fence agents and of their parameters tell: what is said and seen of them.

Whoever may write the cluster file must not become root on a leader by it, and whoever may read a log must not learn
the password of a power switch.
"""

from __future__ import annotations

import re

AGENT = re.compile(r"(fence_[a-z0-9_]+|cloud|/[^\s\0]+)\Z")
PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
ORDERS = frozenset({"action", "option"})  # by which hamgr tells an agent what to do; the second is its older name
_SECRET = re.compile("pass|secret|token|key", re.IGNORECASE)
# Programs that an agent runs (ssh's ProxyCommand among its options) and files that it writes, as root.
_POWERFUL = re.compile(
    r".*[_-](path|script|options)\Z|(debug|debug[_-]file|log_?file|status_file|cookie_file|exec|kubeconfig)\Z"
)
_HARMLESS = frozenset({"api_path"})  # of a URL


def is_secret(parameter: str) -> bool:
    """Whether a fence agent's parameter is, by its name, one whose value nobody is to see."""
    return _SECRET.search(parameter) is not None


def is_open_secret(parameter: str) -> bool:
    """The same, less the names of files with a secret in them."""
    return is_secret(parameter) and not parameter.endswith("_file")


def is_powerful(parameter: str) -> bool:
    """Whether a fence agent's parameter names a program that it runs, or a file that it writes: root's to say."""
    return _POWERFUL.match(parameter) is not None and parameter not in _HARMLESS
