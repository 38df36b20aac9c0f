"""The only code that speaks Kubernetes: a gateway of raw JSON, a watch cache, what hamgr knows about a few kinds."""
