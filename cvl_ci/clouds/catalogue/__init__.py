"""Prices, and the names that SkyPilot knows."""
