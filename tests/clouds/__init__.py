"""One folder a subject: credentials and inventories of all clouds."""
