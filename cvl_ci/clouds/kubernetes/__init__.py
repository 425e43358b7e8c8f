"""Kubernetes: credentials and inventory."""
