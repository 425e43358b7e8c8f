"""Registries of images, held to a real one and to the documented shapes of the clouds."""
