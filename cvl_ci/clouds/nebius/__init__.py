"""Nebius: credentials."""
