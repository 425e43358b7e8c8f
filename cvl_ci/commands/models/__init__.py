"""Models in a bucket: stored once, whole or not at all, with checksums of our own."""
