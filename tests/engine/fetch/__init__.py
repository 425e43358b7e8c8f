"""Tests of the engine's folder `fetch`."""
