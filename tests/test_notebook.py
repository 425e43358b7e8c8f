"""The notebook of the docs, run by a kernel as a person would run it, on a cloud in a dict."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_library import checkout

ROOT = Path(__file__).parents[1]
ON_FAKES = """
import pytest
from tests.support.fake_library import on_fakes

seen = on_fakes(pytest.MonkeyPatch())
"""
AFTER = "print(seen.running(), len(seen.plans), len(seen.clouds[0].machines))"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return the cells after a run, without the first one, which replaces the clouds."""
    import nbformat
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("notebook")
    formats: Any = nbformat
    notebook = formats.read(ROOT / "docs/library.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "the notebook is stored without outputs"
    notebook.cells = [formats.v4.new_code_cell(ON_FAKES), *notebook.cells, formats.v4.new_code_cell(AFTER)]
    metadata = {"metadata": {"path": str(checkout(folder / "work"))}}
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=metadata)
    client.execute(env=environment)
    ran: list[Any] = notebook.cells[1:]
    return ran


def shown(cells: list[Any], source: str, kind: str) -> str:
    """Return one kind of output of the cell that begins so."""
    [cell] = [cell for cell in cells if cell.cell_type == "code" and cell.source.startswith(source)]
    texts = [output.get("text", output.get("data", {}).get(kind, "")) for output in cell.outputs]
    return "".join(texts)


def test_a_run_prints_nothing_and_shows_its_end_and_cost(cells: list[Any]) -> None:
    assert shown(cells, "from cvl_ci", "text/plain") == ""
    assert shown(cells, "print(runner.estimate", "text/plain").startswith("Estimated cost: $")
    page = shown(cells, "result = runner.run", "text/html")
    assert page.startswith("<")
    assert "Succeeded" in page
    assert "metrics.json" in page
    assert shown(cells, "assert result", "text/plain") == "{'accuracy': 0.9} True\n"


def test_a_queue_shows_a_table_and_no_machine_is_left(cells: list[Any]) -> None:
    page = shown(cells, "jobs = runner.queue", "text/html")
    assert "3 jobs: 3 succeeded" in page
    assert page.count("<tr>") == 4
    assert shown(cells, "print(seen", "text/plain") == "[] 3 3\n", "two jobs share one of the machines"
