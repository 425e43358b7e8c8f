"""The real image in real containers, called as the runner calls it. Everything here needs a Docker Engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.action import image as building


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.sandbox)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return building.ensure(tmp_path_factory.mktemp("workshop"))
