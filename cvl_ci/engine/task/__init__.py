"""The task: a plan as SkyPilot reads it, and the shell text that its nodes run. Text only, no SDK."""
