"""The only code that speaks etcd: leadership, guarded writes, watches, the request queue."""
