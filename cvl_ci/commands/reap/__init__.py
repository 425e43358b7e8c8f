"""The verbs `reap` and `down`."""
