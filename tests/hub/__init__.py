"""The model hub."""
