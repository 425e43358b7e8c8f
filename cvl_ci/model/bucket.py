"""The address of a prefix in a bucket, such as `s3://bucket/prefix`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BucketAddress:
    """`prefix`: without a slash at either end; empty for the whole bucket."""

    bucket: str
    prefix: str = ""
    scheme: str = "s3"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key()}".rstrip("/") if self.prefix else f"{self.scheme}://{self.bucket}"

    def key(self, *parts: str) -> str:
        """Return bucket and key for a person."""
        return "/".join([self.bucket, self.below(*parts)])

    def below(self, *parts: str) -> str:
        """Return the key of these parts below the prefix."""
        return "/".join(part for part in (self.prefix, *parts) if part)
