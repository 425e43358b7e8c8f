"""The verbs: a folder or a file for each. They reach the world through the protocols of `ports` alone."""
