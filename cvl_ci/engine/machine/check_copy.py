"""Compare a copy on this machine with its files in S3: names, sizes, and contents where S3 knows their MD5.

S3's ETag is the MD5 of a file that came in one request and is not encrypted by a key service ("Object", Amazon S3 API
Reference). Other files are compared by their size. SkyPilot's own Python runs this program.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

MOST_SHOWN = 5
NO_ANSWER = 2
_IS_MD5 = re.compile(r"[0-9a-f]{32}")
_LINES_OF = {"missing": "is missing", "size": "has another size", "content": "has another content"}


def main() -> int:
    address, target = sys.argv[1], Path(sys.argv[2])
    try:
        import boto3
    except ImportError:
        say(f"{target} is not checked, because this machine has no client of S3")
        return 0
    bucket, _, prefix = address[len("s3://") :].partition("/")
    s3: Any = boto3.client("s3")
    problems: list[str] = []
    files = by_content = 0
    # A prefix may also be the name of one file.
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            name = relative(entry["Key"], prefix)
            if name is None or entry["Key"].endswith("/"):
                continue
            files += 1
            trouble, was_hashed = compare(s3, bucket, entry, target / name if name else target)
            by_content += was_hashed
            if trouble:
                problems.append(f"{name or target.name} {_LINES_OF[trouble]}")
    for line in problems[:MOST_SHOWN]:
        say(f"{target}: {line}")
    if len(problems) > MOST_SHOWN:
        say(f"{target}: and {len(problems) - MOST_SHOWN} more")
    if files == 0:
        say(f"{address} holds no file")
        return 1
    if not problems:
        say(f"{target} is checked: {files} files, {by_content} of them by content")
    return 1 if problems else 0


def run() -> int:
    """Return 0 for the same files, 1 for others, and NO_ANSWER where S3 or this disk does not tell."""
    try:
        return main()
    except Exception as error:  # noqa: BLE001  no answer is no proof, and a traceback tells a person nothing
        say(f"{sys.argv[2]} could not be compared with {sys.argv[1]}: {type(error).__name__}: {str(error)[:300]}")
        return NO_ANSWER


def say(line: str) -> None:
    sys.stdout.write(f"cvl-ci: {line}\n")


def relative(key: str, prefix: str) -> str | None:
    """Return the name below the prefix; empty for the prefix itself, None for a sibling such as `data2` of `data`."""
    prefix = prefix.rstrip("/")
    if not prefix or key == prefix:
        return key[len(prefix) :]
    return key[len(prefix) + 1 :] if key.startswith(f"{prefix}/") else None


def compare(s3: Any, bucket: str, entry: dict[str, Any], path: Path) -> tuple[str | None, bool]:
    """Return the trouble of one file, if any, and whether its content was compared."""
    if not path.is_file():
        return "missing", False
    if path.stat().st_size != entry["Size"]:
        return "size", False
    expected = entry["ETag"].strip('"')
    if not _IS_MD5.fullmatch(expected):
        return None, False
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while piece := file.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() == expected:
        return None, True
    about = s3.head_object(Bucket=bucket, Key=entry["Key"])
    return (None, False) if about.get("ServerSideEncryption", "AES256") != "AES256" else ("content", True)


if __name__ == "__main__":
    sys.exit(run())
