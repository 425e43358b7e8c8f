"""AWS: credentials, inventory and queries."""
