"""The one table of inputs, its readers and its views. Pure."""
