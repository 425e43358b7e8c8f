"""Git repositories on this computer."""
