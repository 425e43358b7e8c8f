"""What further verbs are asked, in the form of the one table of inputs: flags, help and README in one."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from cvl_ci.errors import Mistake, RequestError
from cvl_ci.request import values
from cvl_ci.request.arguments import explained
from cvl_ci.request.drill_fields import DRILL_FIELDS
from cvl_ci.request.expected import FAIL, WARN
from cvl_ci.request.fields import BY_NAME, Field
from cvl_ci.request.near import near
from cvl_ci.request.values import Wrong


def listed(value: object) -> tuple[str, ...]:
    """Given again and again, or with commas; braces of a set of GPUs stay whole."""
    words = value if isinstance(value, (list, tuple)) else [value]
    parts = [part.strip() for word in words for part in re.split(r",(?![^{]*\})", values.text(word))]
    return tuple(dict.fromkeys(part for part in parts if part))


def shard(value: object) -> tuple[int, int]:
    """`2/3`."""
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", values.text(value))
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise Wrong("is no shard such as 1/3")
    return int(found[1]), int(found[2])


def infra_failures(value: object) -> str:
    word = values.text(value).lower()
    if word not in {"neutral", "fail"}:
        raise Wrong("is neither of these", near=("neutral", "fail"))
    return word


def on_dropped(value: object) -> str:
    word = values.text(value).lower()
    if word not in {FAIL, WARN}:
        raise Wrong("is neither of these", near=(FAIL, WARN))
    return word


MATRIX_FIELDS = (
    Field(
        name="examples",
        read=listed,
        help="Which examples: paths, names or patterns.",
        metavar="EXAMPLE...",
        example="examples/vision/*",
        default="all of them",
        positional=True,
        repeatable=True,
    ),
    Field(
        name="presets",
        read=listed,
        help="Which of their presets, as names or patterns.",
        metavar="PRESETS",
        example="train,predict",
        default="`train` and `predict`, or the only one there is",
        repeatable=True,
    ),
    Field(
        name="clouds",
        read=listed,
        help="Each of these is a leg: cloud[/region[/zone]].",
        metavar="CLOUDS",
        example="aws,gcp/us-central1",
        default="any, which is one leg",
        repeatable=True,
    ),
    Field(
        name="gpus",
        read=listed,
        help="Each of these is a leg.",
        metavar="GPUS",
        example="L4:1,A10G:1",
        default="what the example declares",
        repeatable=True,
    ),
    Field(
        name="changed_since",
        read=values.text,
        help="Only examples of whose files one changed since the checkout left this commit or branch: the files that "
        "go to the machine.",
        metavar="REF",
        example="origin/main",
    ),
    BY_NAME["files"],
    BY_NAME["spot"],
    BY_NAME["max_runtime"],
    BY_NAME["max_cost"],
    Field(
        name="repeat",
        read=values.whole,
        help="Each leg so many times, on a machine of its own: what noise can be told by.",
        metavar="N",
        example="5",
        default="1",
    ),
    Field(
        name="budget",
        read=values.dollars,
        help="Most that all legs together may cost, in US dollars; legs beyond it are left out by name.",
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
        default="all, and a mistake where they are too many",
    ),
    Field(
        name="on_dropped",
        read=on_dropped,
        help="Whether a leg that cannot run makes it red: one without a known price, over a budget, or with a mistake.",
        metavar="warn|fail",
        example="fail",
        default="warn",
    ),
)

REPORT_FIELDS = (
    Field(
        name="folders",
        read=listed,
        help="Where the legs' `<lease>.json` files lie: a folder of them, or of unpacked artifacts NAME-cost.",
        metavar="FOLDER...",
        example="legs",
        positional=True,
        repeatable=True,
    ),
    Field(
        name="history",
        read=listed,
        help="Earlier runs: folders of such files, or files of such lines. Baseline, noise and trends come from there.",
        metavar="PATHS",
        example="history.jsonl",
        repeatable=True,
    ),
    Field(
        name="base",
        read=values.text,
        help="The commit or branch to compare with; where it was never run, its nearest ancestor that was.",
        metavar="REF",
        example="origin/main",
        default="the commit before",
    ),
    Field(
        name="rules",
        read=values.text,
        help="Which metrics are better high or low, and how much worse is too much.",
        metavar="FILE",
        example="cvl-ci.yml",
        default="cvl-ci.yml, where there is one",
    ),
    Field(
        name="fail_on_regression",
        read=values.flag,
        help="A metric that is worse beyond tolerance and noise makes it red.",
        metavar="",
        example="--fail-on-regression",
        default="it is only told",
    ),
    Field(
        name="infra_failures",
        read=infra_failures,
        help="Whether legs that had no machine, quota or credentials, or lost their machine, make it red.",
        metavar="neutral|fail",
        example="fail",
        default="neutral",
    ),
    Field(
        name="nights",
        read=values.whole,
        help="How many earlier runs a trend shows.",
        metavar="N",
        example="30",
        default="14",
    ),
    Field(
        name="into",
        read=values.text,
        help="Where report.html, summary.md, comment.md and report.json are written.",
        metavar="DIR",
        example="report",
        default="cvl-report",
    ),
)

HISTORY_FIELDS = (
    Field(
        name="folders",
        read=listed,
        help="Where the legs' `<lease>.json` files lie, as for `report`; they are added to the branch.",
        metavar="FOLDER...",
        example="legs",
        default="nothing is added",
        positional=True,
        repeatable=True,
    ),
    Field(
        name="branch",
        read=values.text,
        help="The branch that remembers, made when it is not there.",
        metavar="BRANCH",
        example="cvl-ci-history",
        default="cvl-ci-history",
    ),
    Field(
        name="remote",
        read=values.text,
        help="Where that branch is.",
        metavar="REMOTE",
        example="origin",
        default="origin",
    ),
    Field(
        name="into",
        read=values.text,
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
    for field in fields:
        if not field.positional:
            kind: dict[str, Any] = {"action": "append"} if field.repeatable else {}
            kind = {"nargs": "?", "const": "true"} if field.value_optional else kind
            # A switch takes no word: the one after it is a folder.
            kind = kind | {"metavar": field.metavar} if field.metavar else {"action": "store_const", "const": "true"}
            parser.add_argument(*field.flags, dest=field.name, help=explained(field), **kind)


def read(parsed: Namespace, fields: Sequence[Field]) -> dict[str, Any]:
    """Typed, by name; what was not given is not there. Raises RequestError with all that is wrong."""
    flags: list[str] = list(parsed.known_flags)
    mistakes = [
        Mistake(field=word.partition("=")[0], value=word, problem="is no option", near=near(word, flags))
        for word in parsed.unknown
    ]
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
    if not any(field.positional for field in fields) and parsed.words:
        mistakes.append(Mistake(field="command line", value=" ".join(parsed.words), problem="is one word too many"))
    if mistakes:
        raise RequestError(mistakes)
    return found
