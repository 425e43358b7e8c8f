"""Tests of the engine's folder `server`."""
