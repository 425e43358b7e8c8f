"""Many legs as one report."""
