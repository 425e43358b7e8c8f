"""Tests of the plain types."""
