"""What keeps resources off nodes besides the cluster file: affinity, cordons, taints."""
