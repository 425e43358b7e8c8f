"""Tests of the engine's folder `worker`."""
