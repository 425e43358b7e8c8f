"""Our own examples."""
