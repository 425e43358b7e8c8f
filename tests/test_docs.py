"""README and docs say what the code does: tables, commands, links, exit codes, endings, variables."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from cvl_ci import errors as tree
from cvl_ci.clouds.registry import CLOUDS, provable_clouds
from cvl_ci.inputs.table import OPTIONS
from cvl_ci.model.outcome import EXIT_CODES, EXIT_NOT_PROVED_GONE, Ending
from cvl_ci.result.summary import to_json
from tests.result.outcomes import SUCCEEDED
from tests.support import doc_tables, fork_server
from tests.support.doc_tables import PAGES, ROOT

README = ROOT / "README.md"
DOCS = ROOT / "docs"
REPOSITORY = re.compile(r"https://github\.com/cvl/skypilot-run/(?:blob|tree)/main/")
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def first_cells(text: str, heading: str) -> set[str]:
    """Return the code spans in the first column of the table whose first heading is this."""
    table = text.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    return {span for row in table.splitlines()[2:] for span in re.findall(r"`([^`]+)`", row.split("|")[1])}


CLOUD_WORDS = {"gcp": "GCP", "aws": "AWS", "runpod": "RunPod", "api-server": "API server"}
"""The pages' words for the clouds whose names are not their words with a capital letter."""


def test_the_page_of_credentials_offers_the_clouds_that_the_registry_accepts() -> None:
    text = page("credentials.md")
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", text, re.MULTILINE))
    for cloud in CLOUDS:
        word = CLOUD_WORDS.get(cloud.name, cloud.name.capitalize())
        bodies = [body for heading, body in sections.items() if word in heading]
        assert len(bodies) == 1, word
        assert (f"cvl-ci refuses a run on {word}." in bodies[0]) is (cloud.name not in provable_clouds())
    rows = sections["Which provider can prove a release"].split("|---|---|\n")[1].split("\n\n")[0].splitlines()
    accepted = {CLOUD_WORDS.get(name, name.capitalize()) for name in provable_clouds()}
    assert [row.split("|")[1].strip() for row in rows if row.split("|")[1].strip() not in accepted] == []
    assert len(rows) == len(accepted)


def commands() -> list[str]:
    """Return every command of a shell block that calls cvl-ci, in README and docs."""
    blocks = [block for path in PAGES for block in SHELL.findall(path.read_text(encoding="utf-8"))]
    whole = [block.replace("\\\n", " ") for block in blocks]
    return [line for block in whole for line in block.splitlines() if line.startswith("cvl-ci ")]


def test_the_readme_is_read_in_three_minutes() -> None:
    assert len(README.read_bytes()) <= 8 * 1024


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_table_is_made_of_the_code(path: Path) -> None:
    """After a change of the code: `GOLDEN=write pytest tests/test_docs.py`."""
    result = doc_tables.renewed(path.read_text(encoding="utf-8"), doc_tables.tables())
    if os.environ.get("GOLDEN") == "write":
        path.write_text(result, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == result


def test_every_table_has_its_page() -> None:
    placed = [name for path in PAGES for name in doc_tables.names(path.read_text(encoding="utf-8"))]
    assert sorted(placed) == sorted(doc_tables.tables())


def test_troubleshooting_explains_every_exit_code_and_no_other() -> None:
    raised = {error.exit_code for error in _errors(tree.CvlError)}
    codes = {str(code) for code in raised | {*EXIT_CODES.values()} | {EXIT_NOT_PROVED_GONE}}
    assert first_cells(page("troubleshooting.md"), "exit code") == codes
    line = README.read_text(encoding="utf-8").split("## Exit codes", 1)[1].split("##", 1)[0]
    assert set(re.findall(r"`(\d+)`", line)) == codes


def _errors(root: type[tree.CvlError]) -> set[type[tree.CvlError]]:
    return {root}.union(*(_errors(child) for child in root.__subclasses__()))


def test_troubleshooting_explains_every_ending() -> None:
    assert first_cells(page("troubleshooting.md"), "ending") == {ending.value for ending in Ending}


def test_the_docs_name_every_key_of_the_json_summary() -> None:
    keys = page("cli.md").split("`--json-summary FILE` always has the keys", 1)[1].split(".\n", 1)[0]
    assert re.findall(r"`(\w+)`", keys) == list(to_json(SUCCEEDED))


def test_the_docs_name_every_variable_that_the_machine_exports() -> None:
    prelude = (ROOT / "cvl_ci/engine/machine/prelude.sh").read_text(encoding="utf-8")
    exported = {
        name
        for line in re.findall(r"^export (?!-f)(.*)$", prelude, re.MULTILINE)
        for name in re.findall(r"(?:^|\s)([A-Z_]+)(?==|\s|$)", line)
    }
    assert exported | {"CVL_IMAGE"} == first_cells(page("examples.md"), "variable") - {"SKYPILOT_*"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_into_the_repository_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        inside = REPOSITORY.sub("", target)
        if inside != target:
            assert (ROOT / inside).exists(), target
        elif not target.startswith("http"):
            file, _, anchor = target.partition("#")
            to = (path.parent / file).resolve() if file else path
            assert to.exists(), target
            assert not anchor or anchor in _anchors(to), target


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_docs_link_every_example_and_each_says_what_it_is() -> None:
    for description in (ROOT / "examples").rglob("example.yaml"):
        folder = description.parent.relative_to(ROOT).as_posix()
        assert f"/tree/main/{folder})" in page("examples.md")
        assert (description.parent / "README.md").exists()


def test_the_docs_name_every_verb() -> None:
    from cvl_ci.cli.main import main

    with pytest.raises(SystemExit), redirect_stdout(io.StringIO()) as result:
        main(["--help"])
    verbs = set(re.findall(r"^    (\w+)(?: |$)", result.getvalue(), re.MULTILINE))
    assert first_cells(page("cli.md"), "command") == {f"cvl-ci {verb}" for verb in verbs}


def test_every_command_in_the_docs_has_flags_that_exist() -> None:
    known = {flag for one in OPTIONS for flag in one.flags}
    used = {flag for line in commands() for flag in re.findall(r"(?<=\s)--[a-z-]+", line)}
    assert used
    assert used - known == set()


@pytest.mark.parametrize("line", [line for line in commands() if line.split()[1] in {"plan", "run"}])
def test_every_run_in_the_docs_can_be_planned(line: str, tmp_path: Path) -> None:
    """The command as a person types it, up to the price; `plan` asks no network and no cloud."""
    words = shlex.split(line, comments=True)
    (tmp_path / "train.py").write_text("print('trained')\n", encoding="utf-8")
    folder = tmp_path if "--command" in words else ROOT
    for option in ("--compare", "--fail-on-regression"):  # a clone may have no branch of that name
        if option in words:
            at = words.index(option)
            del words[at : at + (2 if option == "--compare" else 1)]
    server = {"SKYPILOT_API_SERVER_ENDPOINT": "https://sky.example.com", "SKYPILOT_SERVICE_ACCOUNT_TOKEN": "sky_word"}
    shell = {**os.environ, **(server if "--managed" in words else {})}
    result = fork_server.run("tests.support.command_line", "plan", *words[2:], env=shell, folder=folder)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("script", sorted(set(re.findall(r"script/[a-z-]+", page("contributing.md")))))
def test_every_script_in_the_docs_exists(script: str) -> None:
    assert (ROOT / script).exists()


@pytest.mark.peers
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    result = subprocess.run(
        [ROOT / "script/docs", "--site-dir", str(tmp_path)], capture_output=True, text=True, check=False, timeout=110
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "0 of" in (tmp_path / "guarantee/index.html").read_text(encoding="utf-8")
