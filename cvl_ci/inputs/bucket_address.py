"""Read the address of a bucket, such as `s3://bucket/prefix`. Pure."""

from __future__ import annotations

import re

from cvl_ci.inputs import parsers
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.bucket import HUB, BucketAddress
from cvl_ci.model.snapshot import is_safe_path

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""S3 User Guide, "General purpose bucket naming rules"."""
_ANY = re.compile(
    r"(?P<scheme>s3|gs|r2)://(?P<bucket>[^/?#]+)(?:/(?P<path>[^?#]*))?"
    r"|(?:az://(?P<account>[a-z0-9]{3,24})|https://(?P<host>[a-z0-9]{3,24})\.blob\.core\.windows\.net)"
    r"/(?P<container>[a-z0-9-]{3,63})(?:/(?P<blob>[^?#]*))?"
)
"""The addresses of files that SkyPilot mounts or copies: sky/cloud_stores.py, and our own az://ACCOUNT/CONTAINER."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REPOSITORY = re.compile(
    rf"hf://(?P<name>(?:(?:datasets|spaces)/)?(?P<owner>{_NAME})/{_NAME}(?:@[^/?#@\s]+)?)(?:/(?P<path>[^?#]*))?"
)
"""huggingface_hub, utils/_validators.py. SkyPilot reads a name with its owner alone: sky/data/data_utils.py:151."""
_NO_OWNERS = {"datasets", "spaces", "buckets"}


def read_any(value: object) -> BucketAddress | None:
    """Return the address of a bucket in any store that cvl-ci can list; None for another source."""
    match = _ANY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return _repository(value) if isinstance(value, str) else None
    if match["scheme"]:
        return BucketAddress(scheme=match["scheme"], bucket=match["bucket"], prefix=(match["path"] or "").strip("/"))
    bucket = f"{match['account'] or match['host']}/{match['container']}"
    return BucketAddress(scheme="az", bucket=bucket, prefix=(match["blob"] or "").strip("/"))


def _repository(text: str) -> BucketAddress | None:
    match = _REPOSITORY.fullmatch(text)
    if match is None or match["owner"] in _NO_OWNERS:
        return None
    return BucketAddress(scheme=HUB, bucket=match["name"], prefix=(match["path"] or "").strip("/"))


def read(value: object) -> BucketAddress:
    """Return the address. Raises Wrong."""
    address = parsers.text(value)
    scheme, separator, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    if not separator or scheme != "s3":
        raise Wrong("is not an S3 address such as s3://bucket/prefix")
    if not _BUCKET.fullmatch(bucket):
        raise Wrong("has no valid name of a bucket after s3://")
    prefix = prefix.strip("/")
    if prefix and not is_safe_path(prefix):
        raise Wrong("has a prefix that S3 does not store as it is")
    return BucketAddress(bucket=bucket, prefix=prefix)
