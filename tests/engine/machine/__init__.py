"""Tests of the engine's folder `machine`."""
