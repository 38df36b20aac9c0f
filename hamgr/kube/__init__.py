"""The only code that speaks Kubernetes."""
