"""A SkyPilot API server that has the clouds' credentials."""
