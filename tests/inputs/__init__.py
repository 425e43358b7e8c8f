"""The table of inputs and its readers."""
