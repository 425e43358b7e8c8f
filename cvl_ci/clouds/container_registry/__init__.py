"""Registries of container images: which digest a tag has, and how to log in."""
