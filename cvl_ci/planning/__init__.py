"""Examples, presets and task files become a plan. Pure."""
