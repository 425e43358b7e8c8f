"""The contents of buckets of every store."""
