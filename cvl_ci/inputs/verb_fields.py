"""What further verbs are asked, in the form of the one table of inputs: flags, help and README in one."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from cvl_ci.errors import Mistake, RequestError
from cvl_ci.inputs import parsers
from cvl_ci.inputs.arguments import add_words, explained, unknown_options
from cvl_ci.inputs.drill_fields import DRILL_FIELDS
from cvl_ci.inputs.expected_legs import FAIL, WARN
from cvl_ci.inputs.fields import BY_NAME, Field
from cvl_ci.inputs.parsers import Wrong


def listed(value: object) -> tuple[str, ...]:
    """Given again and again, or with commas; braces of a set of GPUs stay whole."""
    words = value if isinstance(value, (list, tuple)) else [value]
    parts = [part.strip() for word in words for part in re.split(r",(?![^{]*\})", parsers.text(word))]
    return tuple(dict.fromkeys(part for part in parts if part))


def shard(value: object) -> tuple[int, int]:
    """`2/3`."""
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", parsers.text(value))
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise Wrong("is no shard such as 1/3")
    return int(found[1]), int(found[2])


def infra_failures(value: object) -> str:
    word = parsers.text(value).lower()
    if word not in {"neutral", "fail"}:
        raise Wrong("is neither of these", near=("neutral", "fail"))
    return word


def on_dropped(value: object) -> str:
    word = parsers.text(value).lower()
    if word not in {FAIL, WARN}:
        raise Wrong("is neither of these", near=(FAIL, WARN))
    return word


MATRIX_FIELDS = (
    Field(
        name="examples",
        read=listed,
        help="The examples: paths, names or patterns.",
        metavar="EXAMPLE...",
        example="examples/vision/*",
        default="all",
        positional=True,
        repeatable=True,
    ),
    Field(
        name="presets",
        read=listed,
        help="Their presets: names or patterns.",
        metavar="PRESETS",
        example="train,predict",
        default="`train` and `predict`, or the only one",
        repeatable=True,
    ),
    Field(
        name="clouds",
        read=listed,
        help="Each of these makes a leg: cloud[/region[/zone]].",
        metavar="CLOUDS",
        example="aws,gcp/us-central1",
        default="any, which makes one leg",
        repeatable=True,
    ),
    Field(
        name="gpus",
        read=listed,
        help="Each of these makes a leg.",
        metavar="GPUS",
        example="L4:1,A10G:1",
        default="the example's own need",
        repeatable=True,
    ),
    Field(
        name="changed_since",
        read=parsers.text,
        help="Only examples with a changed file since the checkout left this commit or branch. The files that go to "
        "the machine count.",
        metavar="REF",
        example="origin/main",
    ),
    BY_NAME["files"],
    BY_NAME["spot"],
    BY_NAME["max_runtime"],
    BY_NAME["max_cost"],
    Field(
        name="repeat",
        read=parsers.whole,
        help="This many legs of each kind, each on its own machine, to measure noise.",
        metavar="N",
        example="5",
        default="1",
    ),
    Field(
        name="budget",
        read=parsers.dollars,
        help="The most that all legs together may cost, in US dollars. The command names the legs beyond it.",
        metavar="USD",
        example="25",
        default="no limit",
    ),
    Field(
        name="shard",
        read=shard,
        help="Only this part of the legs: GitHub takes at most 256 in one matrix.",
        metavar="N/M",
        example="1/3",
        default="all; too many are a mistake",
    ),
    Field(
        name="on_dropped",
        read=on_dropped,
        help="Whether a leg that cannot run makes it red: no price, over a budget, or a mistake.",
        metavar="warn|fail",
        example="fail",
        default="warn",
    ),
)

REPORT_FIELDS = (
    Field(
        name="folders",
        read=listed,
        help="A folder with the legs' `<lease>.json` files, or with unpacked artifacts NAME-cost.",
        metavar="FOLDER...",
        example="legs",
        positional=True,
        repeatable=True,
    ),
    Field(
        name="history",
        read=listed,
        help="Earlier runs: folders of such files, or files of such lines. They give baseline, noise and trends.",
        metavar="PATHS",
        example="history.jsonl",
        repeatable=True,
    ),
    Field(
        name="base",
        read=parsers.text,
        help="The commit or branch to compare with, or its nearest ancestor with runs.",
        metavar="REF",
        example="origin/main",
        default="the commit before",
    ),
    Field(
        name="rules",
        read=parsers.text,
        help="The file with directions and tolerances of metrics.",
        metavar="FILE",
        example="cvl-ci.yml",
        default="cvl-ci.yml, if it exists",
    ),
    Field(
        name="fail_on_regression",
        read=parsers.flag,
        help="A metric that is worse beyond tolerance and noise makes the report red.",
        metavar="",
        example="--fail-on-regression",
        default="the report only shows it",
    ),
    Field(
        name="infra_failures",
        read=infra_failures,
        help="Whether infrastructure failures make the report red. They are legs without a machine, quota or "
        "credentials, and legs that lost their machine.",
        metavar="neutral|fail",
        example="fail",
        default="neutral",
    ),
    Field(
        name="nights",
        read=parsers.whole,
        help="How many earlier runs a trend shows.",
        metavar="N",
        example="30",
        default="14",
    ),
    Field(
        name="into",
        read=parsers.text,
        help="The folder for report.html, summary.md, comment.md and report.json.",
        metavar="DIR",
        example="report",
        default="cvl-report",
    ),
)

HISTORY_FIELDS = (
    Field(
        name="folders",
        read=listed,
        help="The legs' `<lease>.json` files, as for `report`, to add to the branch.",
        metavar="FOLDER...",
        example="legs",
        default="nothing is added",
        positional=True,
        repeatable=True,
    ),
    Field(
        name="branch",
        read=parsers.text,
        help="The branch for the runs. cvl-ci creates it when it does not exist.",
        metavar="BRANCH",
        example="cvl-ci-history",
        default="cvl-ci-history",
    ),
    Field(
        name="remote",
        read=parsers.text,
        help="The remote that has the branch.",
        metavar="REMOTE",
        example="origin",
        default="origin",
    ),
    Field(
        name="into",
        read=parsers.text,
        help="Write all runs that it then holds into this file, for `cvl-ci report --history`.",
        metavar="FILE",
        example="history.jsonl",
    ),
)

VERBS: Mapping[str, Sequence[Field]] = {
    "matrix": MATRIX_FIELDS,
    "report": REPORT_FIELDS,
    "history": HISTORY_FIELDS,
    "drill": DRILL_FIELDS,
}


def add_arguments(parser: ArgumentParser, fields: Sequence[Field]) -> None:
    """Flags of these; the positional ones are taken from the words that are left over."""
    words = [f"[{field.metavar}]" for field in fields if field.positional]
    parser.usage = " ".join(["%(prog)s", *words, "[options]"])
    add_words(parser, fields, title="words")
    for field in fields:
        if not field.positional:
            kind: dict[str, Any] = {"action": "append"} if field.repeatable else {}
            kind = {"nargs": "?", "const": "true"} if field.value_optional else kind
            # A switch takes no word: the one after it is a folder.
            kind = kind | {"metavar": field.metavar} if field.metavar else {"action": "store_const", "const": "true"}
            parser.add_argument(*field.flags, dest=field.name, help=explained(field), **kind)


def read(parsed: Namespace, fields: Sequence[Field]) -> dict[str, Any]:
    """Typed, by name; what was not given is not there. Raises RequestError with all that is wrong."""
    mistakes = unknown_options(parsed)
    found: dict[str, Any] = {}
    for field in fields:
        given = list(parsed.words) if field.positional else getattr(parsed, field.name, None)
        if given in (None, [], ""):
            continue
        try:
            found[field.name] = field.read(given)
        except Wrong as wrong:
            name = field.metavar if field.positional else field.flag
            mistakes.append(Mistake(field=name, value=str(given), problem=wrong.problem, near=wrong.near))
    if not any(field.positional for field in fields) and parsed.words and not parsed.doubtful:
        mistakes.append(Mistake(field="command line", value=" ".join(parsed.words), problem="is one word too many"))
    if mistakes:
        raise RequestError(mistakes)
    return found
