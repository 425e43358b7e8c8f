"""Plain types that every layer reads: plan, outcome, access."""
