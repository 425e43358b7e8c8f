"""Fakes, fixtures and readers that several tests share."""
