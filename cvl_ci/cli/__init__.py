"""The entry point of the terminal."""
