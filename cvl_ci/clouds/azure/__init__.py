"""Azure: credentials and inventory."""
