"""What people ask of the leader: the kinds of requests and their bodies, agreed between command line and controller.

| kind | body | answer |
| --- | --- | --- |
| ``fence`` | target (NODE, POD or NAMESPACE/POD), level or "", reason, dry_run | `FenceStatus` |
| ``confirm`` | node, reason: the operator vouches that the node is off | `FenceStatus` |
| ``unfence`` | node: let it take part again | |
| ``move`` | resource, node, role or "", until (seconds since the epoch) or None | |
| ``ban`` | resource, node ("": where it runs now), role or "", until or None | |
| ``clear`` | resource, node ("": all) | |
| ``cleanup`` | resource ("": all), node ("": all): forget failures, and see again what is running | |
| ``meta`` | resource, name, value (None: as configured): target-role, is-managed, maintenance | |
| ``node`` | node, name, value (None: as configured): standby, maintenance | |
| ``option`` | name, value (None: as configured): maintenance-mode | |

An answer is a JSON object; its ``message``, if any, is a sentence for the person who asked. A fence tells its progress
as `FenceStatus` values, each with all steps so far.
"""

from __future__ import annotations

FENCE = "fence"
CONFIRM = "confirm"
UNFENCE = "unfence"
MOVE = "move"
BAN = "ban"
CLEAR = "clear"
CLEANUP = "cleanup"
META = "meta"
NODE = "node"
OPTION = "option"

KINDS = frozenset({FENCE, CONFIRM, UNFENCE, MOVE, BAN, CLEAR, CLEANUP, META, NODE, OPTION})
