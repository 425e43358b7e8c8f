"""Cloudflare R2: the contents of its buckets."""
