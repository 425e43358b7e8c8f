"""What the action alone is asked: every mistake at once, each with what was meant."""

from __future__ import annotations

import pytest

from cvl_ci.inputs import matrix_reader
from cvl_ci.inputs.action_reader import ActionInputs, read
from cvl_ci.inputs.step_inputs import PublicationInputs, StepInputs
from cvl_ci.inputs.table import STEP_OPTIONS


def test_nothing_given_is_what_the_table_says() -> None:
    assert read({}) == ActionInputs()
    table = {f"INPUT_{option.name.upper()}": option.action_default for option in STEP_OPTIONS}
    assert read({**table, "INPUT_LEG": "", "INPUT_CHECK_RUN": "", "INPUT_GITHUB_TOKEN": ""}) == ActionInputs()


def test_what_is_given_is_read() -> None:
    values = {"INPUT_VERB": " plan ", "INPUT_RETENTION_DAYS": "7", "INPUT_ARTIFACT_NAME": "digits of L4"}
    assert read(values) == ActionInputs(
        step=StepInputs(verb="plan"),
        publication=PublicationInputs(retention_days=7, artifact_name="digits of L4"),
    )


def test_every_mistake_is_kept_with_what_was_meant() -> None:
    request = read(
        {"INPUT_VERB": "plna", "INPUT_COMMENT": "allways", "INPUT_FORK": "x", "INPUT_RETENTION_DAYS": "week"}
    )
    assert [mistake.field for mistake in request.mistakes] == ["verb", "comment", "retention_days", "fork"]
    assert request.mistakes[0].near == ("plan",)
    assert request.mistakes[1].near[0] == "always"
    assert (request.verb, request.trust.fork, request.publication.retention_days) == ("run", "plan", None)


@pytest.mark.parametrize(("value", "meant"), [("", False), ("false", False), ("TRUE", True), ("perhaps", True)])
def test_a_dry_run_is_one_unless_false_is_said(value: str, meant: bool) -> None:
    """What cannot be read ends nothing: it is a mistake, and would be the harmless one."""
    request = read({"INPUT_DRY_RUN": value})
    assert request.reap.dry_run is meant
    assert bool(request.mistakes) == (value == "perhaps")


@pytest.mark.parametrize("days", ["-1", "1.5", "401", "٣", "1 week"])
def test_days_that_cannot_be_meant_are_a_mistake(days: str) -> None:
    assert len(read({"INPUT_RETENTION_DAYS": days}).mistakes) == 1


@pytest.mark.parametrize(("days", "meant"), [("0", 0), ("400", 400), ("", None)])
def test_days_are_numbers(days: str, meant: int | None) -> None:
    request = read({"INPUT_RETENTION_DAYS": days})
    assert (request.publication.retention_days, request.mistakes) == (meant, ())


def test_an_input_of_another_verb_is_named_and_a_secret_is_not_shown() -> None:
    words = {"INPUT_TLS_KEY": "-----BEGIN PRIVATE KEY-----\nAAAA", "INPUT_DEPLOY_TOKEN": "a-token", "INPUT_PORT": "1"}
    _, mistakes = matrix_reader.read(words, "report")
    values = {mistake.field: mistake.value for mistake in mistakes}
    assert values == {"tls_key": "***", "deploy_token": "***", "port": "1"}


@pytest.mark.parametrize("name", ["tls_cert", "domain", "port"])
@pytest.mark.parametrize("verb", ["report", "deploy"])
def test_a_key_in_another_input_is_not_shown(name: str, verb: str) -> None:
    """Two secrets of a workflow may be swapped. `port` cannot be read then."""
    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----"
    _, mistakes = matrix_reader.read({f"INPUT_{name.upper()}": key}, verb)
    assert bool(mistakes) == ((verb, name) != ("deploy", "tls_cert"))
    assert "MC4CAQAw" not in str(mistakes) + "".join(map(str, mistakes))
