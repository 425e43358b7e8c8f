"""Of every event that GitHub shows an example of, the pull request is found that its addresses name, or none.

What is right is read from addresses alone (`/pulls/7`, `pr-7-`): the code under test reads numbers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from cvl_ci.github.event import Event
from tests.peers import node

EXAMPLES = node.HERE / "node_modules" / "@octokit" / "webhooks-examples"
Payload = dict[str, Any]


def examples() -> Iterator[tuple[str, Payload]]:
    for file in sorted(EXAMPLES.glob("*/index.json")):
        for event in json.loads(file.read_text(encoding="utf-8")):
            yield from ((event["name"], payload) for payload in event["examples"])


def named_by_addresses(name: str, payload: Payload) -> int | None:
    """GitHub's documentation of the events that start workflows, as far as each is about a pull request."""
    ours = payload.get("repository", {}).get("url", "")
    match name:
        case "pull_request" | "pull_request_review" | "pull_request_review_comment":
            address = payload["pull_request"]["url"]
        case "issue_comment" | "issues":
            address = payload["issue"].get("pull_request", {}).get("url", "")
        case "check_run" | "check_suite" | "workflow_run":
            listing = [request["url"] for request in payload[name]["pull_requests"]]
            address = next((one for one in listing if one.startswith(f"{ours}/")), "")
        case "merge_group":
            address = re.sub(r".*/pr-(\d+)-\w+$", r"/pulls/\1", payload["merge_group"]["head_ref"])
        case _:
            address = ""
    result = re.search(r"/pulls/(\d+)$", address)
    return int(result[1]) if result else None


def of_two_minds(name: str, payload: Payload) -> bool:
    """An example whose number and address were made up apart from each other."""
    if not name.startswith("pull_request"):
        return False
    request = payload["pull_request"]
    return not request["url"].endswith(f"/{request['number']}")


@pytest.mark.peers
def test_the_pull_request_of_every_example_is_the_one_its_addresses_name(official: None) -> None:
    result: Counter[str] = Counter()
    for name, payload in examples():
        if not of_two_minds(name, payload):
            number = Event(name=name, payload=payload).pull_request
            assert number == named_by_addresses(name, payload), (name, payload.get("action"))
            result[name] += number is not None
    about_one = {name for name, count in result.items() if count}
    assert about_one == {
        *("pull_request", "pull_request_review", "pull_request_review_comment"),
        *("issues", "check_run", "check_suite", "merge_group"),
    }
    assert result["pull_request"] > 40


@pytest.mark.peers
def test_of_the_examples_only_those_of_one_review_contradict_themselves(official: None) -> None:
    assert {name for name, payload in examples() if of_two_minds(name, payload)} == {"pull_request_review"}


@pytest.mark.peers
def test_a_fork_of_an_example_is_told_by_its_address(official: None) -> None:
    results = set()
    for name, payload in examples():
        if name.startswith("pull_request"):
            theirs = payload["pull_request"]["head"]["repo"]
            ours = payload["pull_request"]["base"]["repo"]["url"]
            stranger = theirs is None or theirs["url"] != ours
        elif name == "workflow_run":
            stranger = payload["workflow_run"]["head_repository"]["url"] != payload["repository"]["url"]
        else:
            stranger = False
        assert Event(name=name, payload=payload).from_fork is stranger, (name, payload.get("action"))
        results.add(stranger)
    assert results == {True, False}


@pytest.mark.peers
def test_nothing_that_an_example_holds_makes_the_event_unreadable(official: None) -> None:
    """Whatever its name: a workflow may be started by events that are not thought of here."""
    names = {name for name, _ in examples()}
    for name, payload in examples():
        for event in (Event(name=other, payload=payload) for other in (name, "pull_request", "workflow_run")):
            assert isinstance(event.from_fork, bool)
            assert re.fullmatch(r"([0-9a-f]{40})?", event.head_sha)
            assert event.pull_request is None or event.pull_request > 0
    assert len(names) > 50
