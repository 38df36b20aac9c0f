"""The node agent: what a kubelet and its container runtime do, on processes of this machine.

``agent`` wires it up. ``plan``, ``status``, ``backoff``, ``probes`` and ``environment`` decide and are pure; ``worker``
carries out what they decide for one pod; ``volumes`` mounts disks; ``heartbeat`` speaks for the node; ``runtime`` is a
process of its own that starts containers and outlives the agent, as a container runtime does.
"""
