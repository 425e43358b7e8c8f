"""Many legs, one report, tried."""
