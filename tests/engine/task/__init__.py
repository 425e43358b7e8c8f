"""Tests of the engine's folder `task`."""
