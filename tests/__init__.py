"""Tests mirror the rooms of cvl_ci; each name is a sentence."""
