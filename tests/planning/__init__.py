"""From examples and task files to a plan."""
