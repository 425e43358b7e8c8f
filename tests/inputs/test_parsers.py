"""Every kind of input is read from text and from Python, and a wrong one says why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from cvl_ci.inputs import file_mounts, parsers, sendable_text, variables
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.resource_request import Spot
from cvl_ci.model.secret import Secret


@pytest.mark.parametrize(
    ("value", "minutes"),
    [
        ("90", 90),
        ("90m", 90),
        ("2h", 120),
        ("1h30m", 90),
        ("1.5h", 90),
        (" 1H 30M ", 90),
        ("1d", 1440),
        ("30s", 0.5),
        (5, 5),
    ],
)
def test_a_length_of_time_is_read_in_minutes(value: object, minutes: float) -> None:
    assert parsers.minutes(value) == minutes


@pytest.mark.parametrize("value", ["", "h", "-5", "0", "0m", "ten", "1h 30", "nan", "inf", "1.2.3h", True, [5], "31d"])
def test_what_is_no_length_of_time_is_refused(value: object) -> None:
    with pytest.raises(Wrong):
        parsers.minutes(value)


@pytest.mark.parametrize(("value", "usd"), [("2.50", 2.5), ("$2.50", 2.5), (" $3 ", 3), (0.5, 0.5), ("1e1", 10)])
def test_dollars_are_read_with_and_without_their_sign(value: object, usd: float) -> None:
    assert parsers.dollars(value) == usd


@pytest.mark.parametrize("value", ["0", "-1", "$", "2,50", "nan", "inf", False, "two"])
def test_what_is_no_amount_of_dollars_is_refused(value: object) -> None:
    with pytest.raises(Wrong):
        parsers.dollars(value)


@pytest.mark.parametrize(
    ("value", "spot"),
    [
        ("true", Spot.ALWAYS),
        ("TRUE", Spot.ALWAYS),
        (False, Spot.NEVER),
        ("False", Spot.NEVER),
        ("Fallback", Spot.FALLBACK),
    ],
)
def test_spot_is_read_in_githubs_spellings(value: object, spot: Spot) -> None:
    assert parsers.spot(value) is spot


@pytest.mark.parametrize("value", ["maybe", 1, "yes", None])
def test_what_is_no_spot_is_refused(value: object) -> None:
    with pytest.raises(Wrong, match="none of true, false and fallback"):
        parsers.spot(value)


@pytest.mark.parametrize(("value", "number"), [("2", 2), (2, 2), ("2.0", 2)])
def test_a_whole_number_is_read(value: object, number: int) -> None:
    assert parsers.whole_number(value) == number


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", True, "1e400"])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(Wrong):
        parsers.whole_number(value)


@pytest.mark.parametrize(("value", "number"), [("4", 4), ("4+", 4), ("0.5", 0.5), (8, 8)])
def test_an_amount_always_means_at_least(value: object, number: float) -> None:
    assert parsers.amount(value) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [("16", 16), (16, 16), ("16+", 16), ("16GB", 16), ("16 GiB", 16), ("16Gi+", 16), ("1TB", 1024), ("512MB", 0.5)],
)
def test_memory_has_skypilots_units(value: object, number: float) -> None:
    assert parsers.gibibytes(value) == number


@pytest.mark.parametrize("value", ["8x", "5 apples", "GB", "0GB", "-1", "1e3GB", True])
def test_what_is_no_amount_of_memory_is_refused(value: object) -> None:
    with pytest.raises(Wrong):
        parsers.gibibytes(value)


def test_a_disk_is_in_whole_gigabytes() -> None:
    assert (parsers.gigabytes("1TB"), parsers.gigabytes("256Gi"), parsers.gigabytes(100)) == (1024, 256, 100)
    with pytest.raises(Wrong, match="not a whole number of gigabytes"):
        parsers.gigabytes("500MB")


def test_environment_is_read_from_lines_a_list_and_a_mapping() -> None:
    expected = {"A": "1", "B": "two = 2", "C": ""}
    assert variables.environment("A=1\n\n# a comment\nB=two = 2\nC=\n") == expected
    assert variables.environment(["A=1", "B=two = 2", "C="]) == expected
    assert variables.environment({"A": 1, "B": "two = 2", "C": ""}) == expected
    assert variables.environment({"T": True}) == {"T": "true"}


def test_a_lists_entry_may_have_a_value_of_several_lines() -> None:
    assert variables.environment(["KEY=one\ntwo"]) == {"KEY": "one\ntwo"}


@pytest.mark.parametrize("value", ["A", "1A=2", "A-B=2", "=2", "CVL_CI_LEASE=x", 5])
def test_what_is_no_environment_is_refused(value: object) -> None:
    with pytest.raises(Wrong):
        variables.environment(value)


UNFIT = {"\0": "NUL character", "\udcff": "not UTF-8"}


@pytest.mark.parametrize(("letter", "why"), UNFIT.items(), ids=["NUL", "no UTF-8"])
def test_a_value_that_no_environment_holds_is_refused_by_its_name_alone(letter: str, why: str) -> None:
    for read in (variables.environment, variables.secrets({})):
        for values in ({"GOOD": "1", "TOKEN": f"hid{letter}den"}, ["GOOD=1", f"TOKEN=hid{letter}den"]):
            with pytest.raises(Wrong, match=why) as error:
                read(values)
            assert error.value.display == "TOKEN"
            assert "hid" not in error.value.problem
    with pytest.raises(Wrong):
        variables.environment({f"A{letter}": "1"})


def test_all_wrong_variables_are_told_at_once() -> None:
    with pytest.raises(Wrong) as error:
        variables.secrets({})({"1A": "x", "B": "\0", "C": "fits", "CVL_CI_D": "x"})
    assert [one.display for one in (error.value, *error.value.further)] == ["1A", "B", "CVL_CI_D"]


def test_a_variable_may_be_as_large_as_linux_takes_it() -> None:
    """The kernel itself is the measure."""
    most = sendable_text.MOST_VARIABLE_BYTES - len("A=")
    for text in ("x" * most, "é" * (most // 2)):
        assert variables.environment({"A": text}) == {"A": text}
        subprocess.run(["true"], env={"PATH": os.environ["PATH"], "A": text}, check=True)
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["true"], env={"PATH": os.environ["PATH"], "A": "x" * (most + 1)}, check=True)
    with pytest.raises(Wrong, match="Linux starts no program"):
        variables.environment({"A": "x" * (most + 1)})


@pytest.mark.parametrize(("letter", "why"), UNFIT.items(), ids=["NUL", "no UTF-8"])
def test_no_text_for_a_machine_holds_what_no_machine_holds(letter: str, why: str) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc"
    texts = [
        (parsers.script, f"echo {letter}"),
        (parsers.shell_words, f"--a {letter}"),
        (parsers.shell_words, ["--a", letter]),
    ]
    mounts = [(file_mounts.read, {f"/a{letter}": "b"}), (file_mounts.read, f"/a=b{letter}")]
    for read, values in [*texts, *mounts, (parsers.public_key, f"{key} anna{letter}")]:
        with pytest.raises(Wrong, match=why):
            read(values)
    with pytest.raises(Wrong, match="NUL"):
        parsers.globs("a\0b")


def test_a_secret_named_alone_takes_its_value_from_the_environment() -> None:
    read = variables.secrets({"HF_TOKEN": "hf_value"})
    assert read(["HF_TOKEN", "OTHER=x"]) == {"HF_TOKEN": Secret("hf_value"), "OTHER": Secret("x")}


@pytest.mark.parametrize(("value", "text"), [("HF_TOKEN", "HF_TOKEN"), ("hf_AbCdEf123", "***"), ("sk-proj-1", "***")])
def test_a_secret_that_is_not_there_is_refused_without_showing_what_may_be_its_value(value: str, text: str) -> None:
    with pytest.raises(Wrong) as error:
        variables.secrets({})([value])
    assert error.value.display == text
    assert value not in error.value.problem or text == value


@pytest.mark.parametrize("value", ["/etc/passwd", "../x", "a/../../b", "~/x"])
def test_a_glob_cannot_lead_out_of_the_working_directory(value: str) -> None:
    with pytest.raises(Wrong, match="leads out"):
        parsers.globs(value)


def test_globs_are_lines() -> None:
    assert parsers.globs("outputs/**\n\n *.json ") == ("outputs/**", "*.json")


def test_arguments_are_split_as_a_shell_would() -> None:
    assert parsers.shell_words("--a 'two words' b") == ("--a", "two words", "b")
    assert parsers.shell_words(["two words", 3]) == ("two words", "3")
    with pytest.raises(Wrong, match="no closing quotation"):
        parsers.shell_words("'open")


@pytest.mark.parametrize("value", ["a b", "-x", "docker:", "x;y"])
def test_what_is_no_image_is_refused(value: str) -> None:
    with pytest.raises(Wrong):
        parsers.image(value)


def test_an_image_is_read_with_and_without_skypilots_prefix() -> None:
    assert parsers.image("docker:ubuntu:22.04") == parsers.image("ubuntu:22.04") == "ubuntu:22.04"


@pytest.mark.parametrize(
    "read", [parsers.minutes, parsers.dollars, parsers.whole_number, parsers.amount, parsers.gigabytes]
)
def test_a_number_too_large_for_any_machine_is_refused(read: Callable[[object], object]) -> None:
    for values in (10**400, "9" * 400, float("inf")):
        with pytest.raises(Wrong):
            read(values)


ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc"


def test_a_public_key_is_one_line_with_or_without_its_comment() -> None:
    assert parsers.public_key(f"  {ED25519}\n") == ED25519
    assert parsers.public_key(f"{ED25519} anna@laptop") == f"{ED25519} anna@laptop"


@pytest.mark.parametrize(
    "value",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----",
        f'command="rm -rf /" {ED25519}',
        f"{ED25519}\n{ED25519}",
        ED25519.replace("ssh-ed25519", "ssh-rsa"),
        "ssh-ed25519 not/base64!",
        "ssh-ed25519",
        7,
    ],
    ids=["private", "options", "two lines", "another kind", "no base64", "no key", "no text"],
)
def test_what_is_no_public_key_is_refused_and_never_shown(value: object) -> None:
    with pytest.raises(Wrong) as wrong:
        parsers.public_key(value)
    assert wrong.value.display == "***"


def test_a_machine_is_kept_for_a_day_at_most() -> None:
    assert (parsers.minutes_kept("0"), parsers.minutes_kept(1440)) == (0, 1440)
    for values in (1441, "-1", "1.5", "10m"):
        with pytest.raises(Wrong):
            parsers.minutes_kept(values)


@pytest.mark.parametrize("line", ["MIIE+vgIBADANBgkq/x==", "s3cr-et=", "a secret of two words=1"])
def test_a_line_of_a_secret_that_is_taken_for_a_name_is_not_repeated(line: str) -> None:
    """A key has several lines, and the last one of base64 ends with `=`."""
    with pytest.raises(Wrong) as refused:
        variables.secrets({})(f"GOOD=x\n{line}\nCVL_CI_X=1")
    lines = [one.display for one in (refused.value, *refused.value.further)]
    assert lines == ["***", "CVL_CI_X"]
    assert line.partition("=")[0] not in f"{refused.value}{refused.value.further}"
