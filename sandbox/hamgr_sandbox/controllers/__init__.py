"""Stand-ins for kube-controller-manager and kube-scheduler in one process, as far as the sandbox needs them."""
