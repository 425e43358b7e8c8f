"""The prices, and the names that SkyPilot uses."""
