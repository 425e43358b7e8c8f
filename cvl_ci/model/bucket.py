"""The address of a prefix in a bucket, such as `s3://bucket/prefix`."""

from __future__ import annotations

from dataclasses import dataclass

HUB = "hf"
"""The scheme of a repository of the model hub."""


@dataclass(frozen=True, kw_only=True)
class BucketAddress:
    """`prefix`: without a slash at either end; empty for the whole bucket.

    `bucket`: in Azure, `ACCOUNT/CONTAINER`. Of the hub, `OWNER/NAME@REVISION`, after `datasets/` or `spaces/`.
    """

    bucket: str
    prefix: str = ""
    scheme: str = "s3"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key()}".rstrip("/") if self.prefix else f"{self.scheme}://{self.bucket}"

    def contains(self, key: str) -> bool:
        """Return whether a key is the prefix or below it, and not a sibling such as `data2` of `data`."""
        return not self.prefix or key == self.prefix or key.startswith(f"{self.prefix}/")

    def key(self, *parts: str) -> str:
        """Return bucket and key for a person."""
        return "/".join([self.bucket, self.below(*parts)])

    def below(self, *parts: str) -> str:
        """Return the key of these parts below the prefix."""
        return "/".join(part for part in (self.prefix, *parts) if part)
