"""Tests of the clouds' room."""
