"""Nothing that a person typed is passed over: a mistyped --dry-run would be a real sweep."""

from __future__ import annotations

import pytest

from cvl_ci.cli import main


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("reap --dryrun --cloud sandbox", "--dry-run"),
        ("reap --cloud sandbox --grase=5m", "--grace"),
        ("reap all", "is too much"),
        ("down --al", "--all"),
        ("check aws --jason", "is not an option"),
    ],
)
def test_what_a_verb_does_not_know_ends_it_before_anything_is_done(
    line: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(line.split()) == 64
    assert text in capsys.readouterr().err


def test_words_count_wherever_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", "--no-such", "nowhere"]) == 64
    assert main.main(["check", "nowhere"]) == 64
    assert "nowhere" in capsys.readouterr().err
