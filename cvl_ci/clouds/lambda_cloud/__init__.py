"""Lambda: inventory."""
