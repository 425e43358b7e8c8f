"""Tests of what makes a request exact."""
