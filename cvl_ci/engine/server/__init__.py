"""Launch through a SkyPilot API server: its places, its inventory, and the work of its own controllers."""
