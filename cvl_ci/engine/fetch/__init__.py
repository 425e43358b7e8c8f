"""Fetch files from the machines, as hostile input: archives, checkpoints and the results of a detached run."""
