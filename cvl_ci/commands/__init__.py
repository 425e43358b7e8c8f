"""Verbs, one file each, talking only to ports; each reads like its sentence in the README."""
