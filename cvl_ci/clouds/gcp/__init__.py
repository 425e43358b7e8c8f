"""GCP: credentials and inventory."""
