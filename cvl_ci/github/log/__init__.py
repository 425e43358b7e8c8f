"""The log of a step: reporter and workflow commands."""
