"""What the doors call of wiring is loaded late: each name is there, and the very thing that the type checker sees."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from cvl_ci import wiring

SEEN = {
    name.name: str(found.module)
    for found in ast.walk(ast.parse(Path(wiring.__file__).read_text()))
    if isinstance(found, ast.ImportFrom) and str(found.module).startswith("cvl_ci.wiring.")
    for name in found.names
}


def test_all_that_the_type_checker_sees_is_to_be_had() -> None:
    assert sorted(SEEN) == sorted(wiring.__all__)


@pytest.mark.parametrize("name", SEEN)
def test_a_name_is_what_its_own_file_makes(name: str) -> None:
    assert getattr(wiring, name) is getattr(importlib.import_module(SEEN[name]), name)


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'state_directory'"):
        _ = wiring.state_directory  # type: ignore[attr-defined]


def test_what_is_started_does_not_get_the_jobs_secrets_unless_a_cloud_reads_them() -> None:
    names = ("PATH", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "RUNPOD_API_KEY", "INPUT_SECRETS", "INPUT_GITHUB_TOKEN")
    clouds = wiring.OpenClouds(
        dict.fromkeys(names, "x"), secrets=("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "RUNPOD_API_KEY", "NOT_THERE")
    )
    assert set(clouds._environ) == {"PATH", "AWS_SECRET_ACCESS_KEY", "RUNPOD_API_KEY"}
