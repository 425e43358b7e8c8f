"""Lambda: credentials and inventory."""
