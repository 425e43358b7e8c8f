"""The pages name as many generated cases as the property tests have, and as many killed runs as the records have."""

from __future__ import annotations

import pytest

from tests.chaos import run_records
from tests.chaos.table import leak_rate
from tests.clouds.inventory import test_contract as providers
from tests.engine.fetch import test_unpack as archives
from tests.github import test_contract as github
from tests.result import test_encodings as masks
from tests.result.benchmark import test_mutations as damaged
from tests.result.matrix import test_hostile as summaries
from tests.support.doc_tables import ROOT

SECRETS = masks.SECRETS_IN_ONE_LINE * len(masks.ENCODERS) + masks.SECRETS_ACROSS_LINES * len(masks.BROKEN)
ANSWERS = providers.ROUNDS * (len(providers.FUZZED) - 1) + providers.ROUNDS_OF_AWS + github.ROUNDS


@pytest.mark.parametrize("page", ["security.md", "limits.md"])
def test_a_page_names_the_counts_of_the_property_tests(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert f"{archives.SEEDS * archives.ARCHIVES_OF_A_SEED:,} archives" in text
    assert f"{SECRETS:,} secrets" in text
    assert f"in {len(masks.ENCODERS)} encodings" in text
    assert f"{ANSWERS:,} answers of providers and of GitHub" in text


def test_the_limits_name_the_counts_of_what_a_report_reads() -> None:
    text = (ROOT / "docs/limits.md").read_text(encoding="utf-8")
    assert f"{summaries.INPUTS:,} summaries of legs" in text
    assert f"{damaged.EACH * len(damaged.KINDS):,} damaged files of metrics, legs and" in text


@pytest.mark.parametrize("page", ["README.md", "docs/guarantee.md"])
def test_a_page_names_the_leak_rate_of_the_recorded_runs(page: str) -> None:
    rate = leak_rate(run_records.read(sorted(run_records.HERE.glob("*.jsonl"))))
    assert f"{rate} left " in (ROOT / page).read_text(encoding="utf-8")
