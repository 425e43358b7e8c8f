"""Numbers and noise, tried."""
