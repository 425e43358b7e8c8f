"""The real SkyPilot on the emulated AWS, by the command line as a person would type it."""
