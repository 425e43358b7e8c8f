"""Docker, as far as the sandbox needs it."""
