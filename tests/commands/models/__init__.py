"""Tests of models in a bucket."""
