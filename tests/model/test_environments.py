"""The names of environments: labels that each cloud accepts, and that no two names share."""

from __future__ import annotations

import re

import pytest

from cvl_ci.model.lease_name import environment_label, preview_environment, pull_request_of


@pytest.mark.parametrize(
    ("name", "number"), [("pr-5", 5), ("pr-5-docs", 5), ("pr-x", None), ("pr-", None), ("main", None), ("pr-5x", None)]
)
def test_the_environment_of_a_preview_is_its_number(name: str, number: int | None) -> None:
    assert pull_request_of(name) == number


NAMES = ["main", "feature-a", "feature/a", "feature a", "é", "ü", "pr-12", "PR/12", "pr 12", "pr-12-hotfix", "x" * 99]
NAMES += ["x" * 98, "-main", "env-pr-12", "env/pr-12"]


def test_environments_are_labels() -> None:
    assert preview_environment(5) == "pr-5"
    assert re.fullmatch(r"pr-5-docs-[0-9a-f]{8}", preview_environment(5, "Docs / é"))
    assert preview_environment(5, "Docs") == "pr-5-docs"
    assert environment_label("Main") == "main"
    assert re.fullmatch(r"feature-new_thing-[0-9a-f]{8}", environment_label("feature/New_Thing"))
    assert re.fullmatch(r"none-[0-9a-f]{8}", environment_label("é"))
    for name in NAMES:
        for label in (environment_label(name), preview_environment(5, name)):
            assert re.fullmatch(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", label), "each cloud accepts it"


def test_two_names_never_share_an_environment() -> None:
    """One deployment would end the other's service."""
    assert len({environment_label(name) for name in NAMES}) == len(NAMES)
    assert len({preview_environment(5, name) for name in NAMES}) == len(NAMES)
    assert environment_label("Feature/A") == environment_label("feature/a"), (
        "GitHub takes no notice of capital letters either"
    )


@pytest.mark.parametrize("name", ["pr-12", "pr-12-hotfix", "PR/12", "pr/12/fix", "-pr-12", "pr 12"])
def test_a_branch_that_is_called_like_a_preview_is_none(name: str) -> None:
    """Else a stranger who owns request 12 ends it by closing his request."""
    assert pull_request_of(environment_label(name)) is None
    assert pull_request_of(preview_environment(5, name)) == 5
