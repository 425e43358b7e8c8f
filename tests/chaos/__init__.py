"""Runs that are killed, on purpose and by a seed, and the emulated provider's own word for what is left of each."""
