"""SkyPilot: the adapter that launches machines, runs jobs on them and fetches their files."""
