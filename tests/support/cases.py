"""The number of generated cases: an eighth in script/test, all of them with TEST_MANY=1."""

from __future__ import annotations

import os


def generated(number: int) -> int:
    return number if os.environ.get("TEST_MANY") else number // 8
