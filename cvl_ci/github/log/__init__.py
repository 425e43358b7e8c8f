"""The log of a step: reporter, workflow commands, masks and shield."""
