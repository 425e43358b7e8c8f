"""Artifacts of a workflow: upload, download, and earlier runs."""
