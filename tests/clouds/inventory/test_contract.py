"""Hostile answers, one table over every provider: each is "not proved", never "none left"; a real empty one is empty.

The answers come from a server of this test, or from a program of kubectl's name: through the real clients.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import botocore.awsrequest
import botocore.compat
import pytest
import requests
import responses

from cvl_ci.clouds import http
from cvl_ci.clouds.aws.clients import ec2_clients
from cvl_ci.clouds.aws.inventory import AwsInventory
from cvl_ci.clouds.azure.inventory import Azure, Token
from cvl_ci.clouds.gcp.inventory import LISTS, Gcp
from cvl_ci.clouds.kubernetes.inventory import Kubernetes
from cvl_ci.clouds.lambda_cloud import inventory as lambda_cloud
from cvl_ci.clouds.provider import Provider, ProviderInventory
from cvl_ci.clouds.runpod import inventory as runpod
from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.engine.server import server_inventory as served
from cvl_ci.model.location import Location
from cvl_ci.ports import Inventory, InventoryResult

LEASE = "cvl-12345678901-67187508"
EC2 = "http://ec2.amazonaws.com/doc/2016-11-15/"


@dataclass(frozen=True)
class Said:
    """One answer."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


HOSTILE: dict[str, Said] = {
    "a web page": Said(b"<html><body>maintenance</body></html>", headers={"Content-Type": "text/html"}),
    "nothing": Said(b""),
    "blank": Said(b" \n"),
    "an empty object": Said(b"{}"),
    "null": Said(b"null"),
    "an empty list": Said(b"[]"),
    "a number": Said(b"7"),
    "a text": Said(b'"ok"'),
    "true": Said(b"true"),
    "an error object": Said(b'{"error": {"code": 500, "message": "backend"}}'),
    "an error text": Said(b'{"error": "unauthorized"}'),
    "errors": Said(b'{"errors": [{"message": "rate limited"}], "data": null}'),
    "a message": Said(b'{"message": "Bad credentials"}'),
    "cut short": Said(b'{"items": [], "value": [], "data": ['),
    "lists that are none": Said(
        b'{"data": {}, "value": {}, "items": {}, "nodes": {}, "locations": {}, "kind": "List"}'
    ),
    "nulls": Said(b'{"data": null, "value": null, "items": null, "kind": null}'),
    "entries that are none": Said(b'{"data": [7], "value": [null], "items": ["x"], "kind": "List"}'),
    "no UTF-8": Said(b'{"data": [\xff\xfe'),
    "nested without end": Said(b"[" * 200_000),
    "another place": Said(b"", status=302, headers={"Location": "https://elsewhere.example.com/"}),
    "another place for ever": Said(b"", status=308, headers={"Location": "https://elsewhere.example.com/"}),
    "an accepted order": Said(b"{}", status=202),
    "a refusal": Said(b"<html>", status=403),
    "trouble": Said(b"<html>", status=503),
}


@dataclass
class Teller:
    """An engine whose server answers this."""

    answer: Any

    def on_server(self, cluster: str) -> Any:
        return SkyPilotMachines.on_server(cast("SkyPilotMachines", self), cluster)

    def _server_list(self, verb: str, cluster: str) -> Any:
        return SkyPilotMachines._server_list(cast("SkyPilotMachines", self), verb, cluster)

    @property
    def _session(self) -> Any:
        return self

    def worker(self) -> Any:
        return self

    def call(self, *_: Any, **__: Any) -> Any:
        return self.answer


def _through(provider: Provider, say: Callable[[str], Said]) -> InventoryResult:
    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        said = say(str(request.url))
        return said.status, said.headers, said.body

    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST"):
            mock.add_callback(method, _ANY, callback=answer)
        result = ProviderInventory(provider).find(lease=LEASE, locations=[Location(cloud=provider.name)])
        assert not any("elsewhere" in str(call.request.url) for call in mock.calls), "no credential follows a redirect"
    return result


CLIENTS = ec2_clients(access_key_id="a", secret_access_key="b")


def _ec2(say: Callable[[str], Said]) -> InventoryResult:
    def client(region: str) -> Any:
        result = CLIENTS(region)

        def answer(request: Any, **_: Any) -> botocore.awsrequest.AWSResponse:
            said = say(request.body.decode() if isinstance(request.body, bytes) else str(request.body))
            raw = type("Raw", (), {"stream": lambda self, **__: iter([said.body])})()
            headers = botocore.compat.HTTPHeaders.from_dict(said.headers)
            return botocore.awsrequest.AWSResponse(request.url, said.status, headers, raw)

        result.meta.events.register("before-send.ec2", cast("Callable[..., None]", answer), unique_id="said")
        return result

    inventory = AwsInventory(client=client, regions=lambda: ["us-east-1"])
    try:
        return inventory.find(lease=LEASE, locations=[Location(cloud="aws")])
    finally:
        CLIENTS("us-east-1").meta.events.unregister("before-send.ec2", unique_id="said")


def _kubectl(say: Callable[[str], Said]) -> InventoryResult:
    def run(command: Any) -> str:
        if "current-context" in command:
            return "kind"
        result = say(" ".join(command))
        if result.status != 200:
            raise OSError(f"`kubectl get`: {result.status}")
        return result.body.decode("utf-8", "replace")

    return ProviderInventory(Kubernetes(run)).find(lease=LEASE, locations=[])


def _server(say: Callable[[str], Said]) -> InventoryResult:
    result = say("")
    try:
        answer = json.loads(result.body)
    except (ValueError, RecursionError):
        answer = result.body.decode("utf-8", "replace")
    inventory: Inventory = served.ServedInventory(cast("SkyPilotMachines", Teller(answer)), endpoint="https://sky")
    return inventory.find(lease=LEASE, locations=[Location(cloud=served.CLOUD)])


_ANY = re.compile(".*")
ASK: dict[str, Callable[[Callable[[str], Said]], InventoryResult]] = {
    "aws": _ec2,
    "gcp": lambda say: _through(Gcp(lambda: (http.session("Bearer t"), "p")), say),
    "azure": lambda say: _through(Azure(lambda: Token(text="t", subscription="s", expires_at=9e12)), say),
    "kubernetes": _kubectl,
    "lambda": lambda say: _through(lambda_cloud.LambdaCloud(lambda: "k"), say),
    "runpod": lambda say: _through(runpod.RunPod(lambda: "k"), say),
    "api-server": _server,
}


def real_empty(provider: str, asked: str) -> Said:
    """What a real one says that has nothing."""
    if provider == "aws":
        name = re.search(r"Action=(\w+)", asked)
        operation = name[1] if name else ""
        sets = {"DescribeInstances": "reservationSet", "DescribeVolumes": "volumeSet", "DescribeTags": "tagSet"}
        sets |= {"DescribeSpotInstanceRequests": "spotInstanceRequestSet", "DescribeAddresses": "addressesSet"}
        sets |= {"DescribeSecurityGroups": "securityGroupInfo"}
        body = f'<{operation}Response xmlns="{EC2}"><requestId>x</requestId><{sets[operation]}/></{operation}Response>'
        return Said(body.encode())
    if provider == "gcp" and "/aggregated/" in asked:
        kind = asked.partition("/aggregated/")[2].partition("?")[0]
        return Said(json.dumps({"kind": LISTS[kind], "id": "projects/p/aggregated"}).encode())
    if provider == "gcp":
        return Said(b"{}" if "/-/nodes" in asked else b'{"locations": [{"locationId": "us-central2-b"}]}')
    return {
        "azure": Said(b'{"value": []}'),
        "kubernetes": Said(b'{"apiVersion": "v1", "items": [], "kind": "List", "metadata": {"resourceVersion": ""}}'),
        "lambda": Said(b'{"data": []}'),
        "runpod": Said(b'{"data": {"myself": {"pods": []}}}'),
        "api-server": Said(b"[]"),
    }[provider]


@pytest.mark.parametrize("provider", ASK)
def test_a_real_empty_answer_is_empty_and_proved(provider: str) -> None:
    resources, silent = ASK[provider](lambda request: real_empty(provider, request)).read()
    assert (resources, silent) == ((), ())


@pytest.mark.parametrize("provider", ASK)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_hostile_answer_is_ever_empty(provider: str, hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # botocore's own patience
    if provider == "api-server" and HOSTILE[hostile].body == b"[]":
        return  # its real empty answer: above
    resources, silent = ASK[provider](lambda _: HOSTILE[hostile]).read()
    assert resources == ()
    assert silent, f"{provider} took {hostile} for none left"


@pytest.mark.parametrize("provider", ["gcp", "azure", "aws"])
@pytest.mark.parametrize("repeats", [True, False])
def test_pages_without_end_prove_nothing(provider: str, repeats: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAGES", 20)
    asked = 0

    def say(question: str) -> Said:
        nonlocal asked
        asked += 1
        assert asked < 200, "it is asked for ever"
        token = "again" if repeats else f"page{asked}"
        result = real_empty(provider, question)
        if provider == "aws":
            return Said(result.body.replace(b"</Describe", f"<nextToken>{token}</nextToken></Describe".encode()))
        extra = {"nextPageToken": token, "nextLink": f"https://management.azure.com/{token}"}
        return Said(json.dumps({**json.loads(result.body), **extra}).encode())

    _, silent = ASK[provider](say).read()
    assert silent


@contextmanager
def _seeded(seed: int) -> Iterator[random.Random]:
    try:
        yield random.Random(seed)
    except BaseException:
        print(f"seed {seed}")
        raise


def _value(dice: random.Random, depth: int = 0) -> Any:
    keys = ["data", "value", "items", "kind", "error", "nodes", "myself", "pods", "nextLink", "nextPageToken", "id"]
    leaves: list[Any] = [None, 0, -1, 1e308, True, "", "List", "x" * 50, "\ud800", [], {}]
    if depth > 3 or dice.random() < 0.4:
        return dice.choice(leaves)
    if dice.random() < 0.5:
        return [_value(dice, depth + 1) for _ in range(dice.randrange(3))]
    return {dice.choice(keys): _value(dice, depth + 1) for _ in range(dice.randrange(4))}


ROUNDS, ROUNDS_OF_AWS = 300, 10
"""Generated answers for each provider."""


FUZZED = [one for one in ASK if one != "api-server"]


@pytest.mark.parametrize("provider", FUZZED)
def test_of_generated_answers_none_is_a_silent_empty_and_none_escapes(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(http, "BACKOFF", replace(http.BACKOFF, tries=1))
    for seed in range(ROUNDS if provider != "aws" else ROUNDS_OF_AWS):
        with _seeded(seed) as dice:
            body = json.dumps(_value(dice)).encode()
            status = dice.choice([200, 200, 200, 204, 206, 301, 302, 400, 403, 404, 429, 500, 503])
            cut = body[: dice.randrange(len(body))] if dice.random() < 0.2 and len(body) > 1 else body
            said = Said(cut, status=status, headers={"Location": "https://elsewhere.example.com/"})
            resources, silent = ASK[provider](lambda _, said=said: said).read()  # type: ignore[misc]
            assert resources == ()
            genuine = cut in {b'{"data": []}', b'{"value": []}'} and status in {200, 206}
            assert silent or genuine, (provider, said)
