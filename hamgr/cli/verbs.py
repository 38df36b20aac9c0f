"""Which module has which verb, so that no command imports another's.

Those that are nothing but a request to the leader are declared in `hamgr.api.requests`.
"""

from __future__ import annotations

# verb: (module, attribute, one line for the list of commands)
VERBS: dict[str, tuple[str, str, str]] = {
    "status": ("hamgr.cli.status", "status", "Show the cluster: nodes, resources, failures, fencing."),
    "apply": ("hamgr.cli.apply", "apply", "Make a cluster file the cluster's configuration."),
    "verify": ("hamgr.cli.apply", "verify", "Check a cluster file without changing anything."),
    "import": ("hamgr.cli.import_", "import_", "Turn a Pacemaker configuration into a cluster file."),
    "events": ("hamgr.cli.events", "events", "Show what the cluster decided and why."),
    "fence": ("hamgr.cli.fence", "fence", "Make sure that a node or a pod cannot write any more."),
    "unfence": ("hamgr.cli.fence", "unfence", "Let a fenced node take part again."),
    "move": ("hamgr.cli.place", "move", "Move a resource to a node."),
    "ban": ("hamgr.cli.place", "ban", "Keep a resource off a node."),
    "clear": ("hamgr.cli.place", "clear", "Undo moves and bans of a resource."),
    "cleanup": ("hamgr.cli.resources", "cleanup", "Forget failures and look again at what is running."),
    "maintenance": ("hamgr.cli.nodes", "maintenance", "Leave a node, or all of the cluster, alone (on|off)."),
    "sandbox": ("hamgr_sandbox.cli", "sandbox", "Run an embedded cluster on this machine."),
}
SIMULATE_SUMMARY = "Show what the cluster would do, from a file or live."
