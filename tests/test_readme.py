"""What the README says of inputs, codes, endings, variables and commands is what the code says."""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from cvl_ci import errors as tree
from cvl_ci.request.fields import FIELDS, Field
from cvl_ci.request.verb_fields import VERBS
from cvl_ci.result.outcome import EXIT_CODES, EXIT_NOT_PROVED_GONE, Ending
from cvl_ci.result.summary import to_json
from tests.result.outcomes import SUCCEEDED

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
START = "<!-- inputs: written by `GOLDEN=write pytest tests/test_readme.py` from cvl_ci/request/fields.py -->\n"
END = "<!-- /inputs -->"


def text() -> str:
    return README.read_text(encoding="utf-8")


def first_cells(heading: str) -> set[str]:
    """Code spans in the first column of the table under this header row."""
    table = text().split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    return {span for row in table.splitlines()[2:] for span in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_the_inputs_table_is_the_code_s() -> None:
    table = inputs_table()
    if os.environ.get("GOLDEN") == "write":
        before, rest = text().split(START)
        README.write_text(before + START + table + END + rest.split(END, 1)[1], encoding="utf-8")
    assert text().split(START)[1].split(END)[0] == table


def inputs_table() -> str:
    rows = ["| input | on the command line | what it is | if not given |", "|---|---|---|---|"]
    return "\n".join([*rows, *map(row, FIELDS)]) + "\n"


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_of_a_verb_is_the_code_s(verb: str) -> None:
    start = (
        f"<!-- {verb}: written by `GOLDEN=write pytest tests/test_readme.py` from cvl_ci/request/verb_fields.py -->\n"
    )
    end = f"<!-- /{verb} -->"
    rows = ["| option | what it is | if not given |", "|---|---|---|"]
    cells = [row(one).split(" | ", 1)[1] for one in VERBS[verb]]
    table = "\n".join([*rows, *(f"| {line}" for line in cells)]) + "\n"
    if os.environ.get("GOLDEN") == "write":
        before, rest = text().split(start)
        README.write_text(before + start + table + end + rest.split(end, 1)[1], encoding="utf-8")
    assert text().split(start)[1].split(end)[0] == table


def row(one: Field) -> str:
    typed = (
        f"`{one.metavar}`"
        if one.positional
        else "<br>".join(f"`{flag} {one.metavar}`".replace(" `", "`") for flag in one.flags)
    )
    again = " Can be given again." if one.repeatable else ""
    cells = [f"`{one.name}`", typed, f"{one.help}{again} Such as `{one.example}`.", one.default]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def test_every_exit_code_of_the_code_is_explained_and_no_other() -> None:
    raised = {error.exit_code for error in _errors(tree.CvlError)}
    assert first_cells("exit code") == {str(c) for c in raised | {*EXIT_CODES.values()} | {EXIT_NOT_PROVED_GONE}}


def _errors(root: type[tree.CvlError]) -> set[type[tree.CvlError]]:
    return {root}.union(*(_errors(child) for child in root.__subclasses__()))


def test_every_ending_is_explained() -> None:
    assert first_cells("ending") == {ending.value for ending in Ending}


def test_every_key_of_the_json_summary_is_named() -> None:
    said = text().split("`--json-summary FILE` has always the keys", 1)[1].split(".\n", 1)[0]
    assert re.findall(r"`(\w+)`", said) == list(to_json(SUCCEEDED))


def test_every_variable_the_machine_exports_is_named() -> None:
    prelude = (ROOT / "cvl_ci/engine/machine/prelude.sh").read_text(encoding="utf-8")
    exported = {
        name
        for line in re.findall(r"^export (?!-f)(.*)$", prelude, re.MULTILINE)
        for name in re.findall(r"(?:^|\s)([A-Z_]+)(?==|\s|$)", line)
    }
    assert exported | {"CVL_IMAGE"} == first_cells("variable") - {"SKYPILOT_*"}


def test_every_file_the_readme_links_to_exists() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text()):
        assert (ROOT / target).exists(), target


def test_every_example_of_ours_is_linked_and_says_what_it_is() -> None:
    for description in (ROOT / "examples").rglob("example.yaml"):
        folder = description.parent.relative_to(ROOT).as_posix()
        assert f"]({folder})" in text()
        assert (description.parent / "README.md").exists()


def test_the_commands_are_those_there_are() -> None:
    from cvl_ci.cli import main

    with pytest.raises(SystemExit), redirect_stdout(io.StringIO()) as shown:
        main(["--help"])
    verbs = set(re.findall(r"^    (\w+) ", shown.getvalue(), re.MULTILINE))
    assert first_cells("command") == {f"cvl-ci {verb}" for verb in verbs}


def test_every_flag_the_readme_types_is_one() -> None:
    verbs = [one for fields in VERBS.values() for one in fields]
    known = {flag for one in (*FIELDS, *verbs) for flag in one.flags} | {
        "--json-summary",
        "--outputs-dir",
        "--keep-sandbox",
        "--dry-run",
    }
    commands = re.findall(r"^cvl-ci .*$", text(), re.MULTILINE)
    used = {flag for line in commands for flag in re.findall(r"(?<=\s)--[a-z-]+", line)}
    assert used
    assert used - known == set()
