"""The emulated AWS: a process of its own."""
