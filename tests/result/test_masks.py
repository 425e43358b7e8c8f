"""A secret is hidden in every form it is likely to turn up in, and nothing else is."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import string
import subprocess
import time
import timeit
from urllib.parse import quote

import pytest

from cvl_ci.result.masked_lines import MaskedLines
from cvl_ci.result.masks import Masks
from cvl_ci.result.radix_tree import RadixTree
from cvl_ci.result.secret_names import secret_values
from tests.result.outcomes import SUCCEEDED

SECRET = 'p@ss/w"rd+&=ü~1'


def hiding(*secrets: str) -> Masks:
    masks = Masks()
    masks.add(*secrets)
    return masks


@pytest.mark.parametrize(
    "said",
    [
        SECRET,
        quote(SECRET, safe=""),
        json.dumps(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(b"u:" + SECRET.encode() + b":rest").decode(),
        base64.urlsafe_b64encode(b"x" + SECRET.encode()).decode(),
        SECRET.encode().hex(),
        (b"u:" + SECRET.encode()).hex().upper(),
    ],
)
def test_a_secret_is_hidden_however_it_is_written(said: str) -> None:
    hidden = hiding(SECRET).hide(f"<{said}>")
    assert "***" in hidden
    assert SECRET[2:10] not in hidden
    assert len(hidden.replace("***", "")) < 15


@pytest.mark.parametrize("program", [["base64"], ["openssl", "base64"], ["base64", "--wrap", "0"]])
@pytest.mark.parametrize("length", [30, 60, 100, 1_000])
def test_a_long_secret_is_hidden_as_programs_break_it_into_lines(program: list[str], length: int) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    secret = "".join(random.Random(length).choices(string.ascii_letters + string.digits, k=length))
    said = subprocess.run(program, input=f"{secret}\n", capture_output=True, text=True, check=True).stdout
    lines = MaskedLines(hiding(secret))
    left = "".join(lines.hide(line).replace("***", "") for line in said.splitlines())
    assert left in {"Cg==", "g==", "o=", "K", ""}  # of the end of the line itself


def test_a_secret_of_many_lines_is_hidden_line_by_line() -> None:
    masks = hiding("-----BEGIN-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n-----END-----\n")
    assert masks.hide("MIIEvQIBADAN") == "***"
    assert masks.hide("x BgkqhkiG9w0B y") == "x *** y"


def test_what_a_service_account_keeps_secret_is_hidden_and_its_project_is_not() -> None:
    key = "-----BEGIN-----\nMIIEvQIBADAN\n"
    masks = hiding(json.dumps({"project_id": "my-project", "private_key": key, "nested": [{"token": "abcdefgh"}]}))
    assert masks.hide("my-project MIIEvQIBADAN abcdefgh") == "my-project *** ***"


def test_of_many_forms_every_one_that_stands_there_is_hidden_those_that_overlap_too() -> None:
    dice = random.Random(5)
    for _ in range(60):
        secrets = {"".join(dice.choices("ab+", k=dice.randint(6, 12))) for _ in range(dice.randint(1, 9))}
        masks = hiding(*secrets)
        text = "".join(dice.choices("ab+", k=60)) + dice.choice(sorted(secrets))
        covered = {
            at
            for form in masks._forms
            for start in range(len(text))
            if text.startswith(form, start)
            for at in range(start, start + len(form))
        }
        marked = "".join("\0" if at in covered else sign for at, sign in enumerate(text))
        assert masks.hide(text) == re.sub("\0+", "***", marked)


def test_a_key_of_hundreds_of_forms_is_looked_for_in_some_microseconds() -> None:
    key = "".join(random.Random(3).choices(string.ascii_letters + string.digits, k=1_600))
    lines = "\n".join(key[start : start + 64] for start in range(0, len(key), 64))
    masks = hiding(json.dumps({"private_key": f"-----BEGIN PRIVATE KEY-----\n{lines}\n", "client_id": "1" * 20}))
    assert len(masks._forms) > 200
    line = "step 12345 loss 0.123 some usual text of a training log line"
    few = hiding("hf_0123456789abcdef")
    assert seconds(masks, line) < 30 * seconds(few, line)


HOSTILE_LINES = {
    "dashes": "-",
    "the end of a header": "-----END PRIVATE KEY----",
    "the beginning of a header": "-----B",
    "nearly the key": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC",
}


@pytest.mark.parametrize("kind", HOSTILE_LINES)
def test_no_line_takes_much_longer_than_another_of_its_length(kind: str) -> None:
    """By the processor, in one run: a line of a million dashes took a hundred times as long as one of words."""
    dice = random.Random(3)
    rest = ["".join(dice.choices(string.ascii_letters + string.digits + "+/", k=64)) for _ in range(25)]
    body = "\n".join([f"{HOSTILE_LINES['nearly the key']}0123456789", *rest])
    masks = hiding(f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    assert len(masks._forms) > 500, "it stays hidden in all encodings"
    words, line = ("step 7 loss " * 20_000)[:200_000], (HOSTILE_LINES[kind] * 200_000)[:200_000]

    def processor_seconds(text: str) -> float:
        timer = timeit.Timer(lambda: MaskedLines(masks).hide(text), timer=time.process_time)
        return min(timer.repeat(number=1, repeat=3))

    assert processor_seconds(line) < 15 * processor_seconds(words)
    assert processor_seconds(line * 4) < 12 * processor_seconds(line)


def test_a_tree_finds_what_a_search_for_each_word_finds() -> None:
    dice = random.Random(7)
    for _ in range(300):
        words = {"".join(dice.choices("abc", k=dice.randint(1, 7))) for _ in range(dice.randint(1, 12))}
        tree = RadixTree()
        for word in words:
            tree.add(word)
        text = "".join(dice.choices("abc", k=14))
        for at in range(len(text) + 1):
            assert tree.longest_at(text, at) == max((len(w) for w in words if text.startswith(w, at)), default=0)
            beginning = text[at:]
            longer = sorted(w[len(beginning) :] for w in words if w.startswith(beginning) and w != beginning)
            assert sorted(tree.rests_after(beginning)) == longer


def seconds(masks: Masks, line: str) -> float:
    return min(timeit.repeat(lambda: masks.hide(line), number=200, repeat=9))


def test_a_short_value_is_never_masked() -> None:
    assert hiding("1", "true", "us\nno\n").add("x") == ()
    assert hiding("true").hide("true") == "true"


def test_nothing_is_told_to_the_runner_twice() -> None:
    masks = Masks()
    assert masks.add(SECRET)
    assert masks.add(SECRET) == ()


def test_every_string_of_an_outcome_is_cleaned_and_nothing_else_changes() -> None:
    cleaned = hiding("checkpoint", "recall@1").cleaned(SUCCEEDED)
    assert cleaned.files.fetched[0].path == "outputs/***.npz"
    assert "***" in cleaned.measurements.metrics["by_class"]  # type: ignore[operator]
    assert cleaned.release == SUCCEEDED.release
    assert cleaned.ending is SUCCEEDED.ending
    assert hiding("not there at all").cleaned(SUCCEEDED) == SUCCEEDED


def test_secrets_of_the_environment_are_known_by_name() -> None:
    environment = {
        "AWS_SECRET_ACCESS_KEY": "a",
        "AWS_SESSION_TOKEN": "b",
        "HF_TOKEN": "c",
        "INPUT_GITHUB_TOKEN": "d",
        "AZURE_CLIENT_SECRET": "e",
        "GOOGLE_APPLICATION_CREDENTIALS": "f",
        "TOKENIZERS_PARALLELISM": "false",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/path",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://here",
        "HOME": "/root",
        "LAMBDA_API_KEY": "g",
    }
    assert "".join(secret_values(environment)) == "abcdefg"
