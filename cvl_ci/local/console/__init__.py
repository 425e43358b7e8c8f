"""The terminal of this computer."""
