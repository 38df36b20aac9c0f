"""What the leader has recorded in etcd: node states, histories, events."""
