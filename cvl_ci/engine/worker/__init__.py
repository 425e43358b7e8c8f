"""The worker process, which alone runs SkyPilot, and the parts of SkyPilot that it guards or replaces."""
