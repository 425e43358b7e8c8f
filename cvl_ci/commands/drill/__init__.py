"""The verb `drill`."""
