"""One azurite for all tests, a results service for each; skipped loudly where node is missing, and never in CI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import in_ci
from tests.peers import node, results
from tests.peers.results import Results


@pytest.fixture(scope="session")
def official() -> None:
    """GitHub's own clients and examples are installed."""
    problem = node.missing()
    if problem and in_ci():
        pytest.fail(f"the official peers have to run in CI: {problem}")
    if problem:
        pytest.skip(f"NOT TRIED against the official peers: {problem}")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory, official: None) -> Iterator[int]:
    with node.azurite(tmp_path_factory.mktemp("azurite")) as port:
        yield port


@pytest.fixture
def service(azurite: int) -> Iterator[Results]:
    with results.serving(azurite) as serving:
        yield serving
        assert serving.wrong == [], "the real service would have refused this"
