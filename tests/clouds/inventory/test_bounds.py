"""Bounds of what no HTTP client of ours reads: botocore's answers, and what `az` and `kubectl` print."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from cvl_ci import bounded
from cvl_ci.clouds import AwsInventory, ec2_clients
from cvl_ci.clouds.aws import bounded_client
from cvl_ci.clouds.azure.inventory import Azure, token_from
from cvl_ci.clouds.credential_provider import Login
from cvl_ci.clouds.credentials import _log_in
from cvl_ci.clouds.programs import programs, run_bounded
from cvl_ci.clouds.provider import ProviderInventory
from cvl_ci.errors import CredentialsError
from cvl_ci.model.location import Location
from tests.clouds.inventory.cases import error
from tests.test_bounded import MIB, Answer, dripping_head, endless, of, only_the_promise_of_an_answer, serving

REGION = "us-east-1"


def dripping_body(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def ec2(address: str) -> AwsInventory:
    client = ec2_clients(access_key_id="testing", secret_access_key="testing", endpoint_url=address)
    client(REGION)  # to load it takes 30 MB
    return AwsInventory(client=client, regions=lambda: [REGION])


def counting(handler: Any, sizes: list[int]) -> Any:
    """Write down the size of each piece that went off. The memory of this process is also that of other threads."""
    write = handler.wfile.write

    def count(data: bytes) -> int:
        size: int = write(data)
        sizes.append(len(data))
        return size

    handler.wfile.write = count
    return handler


@pytest.mark.parametrize(
    "hostile",
    [endless, lambda it: endless(it, status=403), dripping_body, dripping_head, only_the_promise_of_an_answer],
    ids=["endless", "endless refusal", "dripping", "dripping head", "promises"],
)
def test_no_answer_of_ec2_is_read_beyond_its_bounds(hostile: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = bounded_client.bind
    monkeypatch.setattr(bounded_client, "bind", lambda client: plain(client, most_bytes=4 << 20, seconds=0.5))
    sizes: list[int] = []
    with serving(lambda handler: hostile(counting(handler, sizes))) as (address, requests):
        [only] = ec2(address).find(lease=None, locations=[Location(cloud="aws")]).asked
    assert "the answer" in str(only.error)
    body = sum(size for size in sizes if size == MIB)
    assert body <= 24 << 20, "4 MiB, and the buffers of two connections on the way"
    assert len(requests) <= 2, "by tags, and by nothing else: it is not asked again"


def test_a_whole_answer_of_ec2_is_read_within_the_bounds() -> None:
    items = "<item><regionName>eu-west-1</regionName></item>"
    body = f"<DescribeRegionsResponse><regionInfo>{items}</regionInfo></DescribeRegionsResponse>"
    with serving(of(body.encode(), Content_Type="text/xml")) as (address, _):
        client = ec2_clients(access_key_id="testing", secret_access_key="testing", endpoint_url=address)(REGION)
        assert client.describe_regions()["Regions"] == [{"RegionName": "eu-west-1"}]


def test_an_emulated_cloud_is_asked_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(of(b"<DescribeRegionsResponse><regionInfo/></DescribeRegionsResponse>")) as (address, requests):
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        client = ec2_clients(access_key_id="testing", secret_access_key="testing", endpoint_url=address)(REGION)
        assert client.describe_regions()["Regions"] == []
    assert len(requests) == 1


def test_pages_that_take_too_long_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LISTING_SECONDS", -1.0)
    body = b"<DescribeTagsResponse><tagSet/><nextToken>more</nextToken></DescribeTagsResponse>"
    with serving(of(body)) as (address, requests):
        [only] = ec2(address).find(lease=None, locations=[Location(cloud="aws")]).asked
    assert "no last page" in str(only.error)
    assert len(requests) == 1


# ---- programs --------------------------------------------------------------------------------------------------------

PROGRAMS = {
    "a stdout without end": "exec yes",
    "a stderr without end": "exec yes >&2",
    "no end": "exec sleep 60",
    "a child without end": "sleep 60 & exit 0",
    "a child of its own session": "setsid sleep 60 & exit 0",
}


@pytest.fixture
def az(tmp_path: Path) -> Path:
    return tmp_path / "az"


def write(program: Path, text: str) -> dict[str, str]:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_no_program_of_a_cloud_is_read_beyond_its_bounds(kind: str, az: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvl_ci.clouds.programs.SECONDS", 0.5)
    environ = write(az, PROGRAMS[kind])
    tracemalloc.start()
    azure = ProviderInventory(Azure(lambda: token_from(programs(environ))))
    words = error(azure.find(lease=None, locations=[Location(cloud="azure")]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "printed more than 32 MiB" in words or "did not answer within 0.5 s" in words
    assert peak < 100 << 20


@pytest.mark.parametrize("kind", PROGRAMS)
def test_no_login_of_a_cloud_is_read_beyond_its_bounds(kind: str, az: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvl_ci.clouds.credentials.LOGIN_SECONDS", 0.5)
    environ = write(az, PROGRAMS[kind])
    with pytest.raises(CredentialsError, match="could not be run"):
        _log_in(Login(command=(str(az), "login")), environ)


def test_a_program_s_code_answer_and_last_words_come_whole(az: Path) -> None:
    environ = write(az, "printf '{}'; echo first >&2; printf '%5000s' last >&2; exit 7")
    code, out, err = run_bounded([str(az)], environ, name="az", seconds=30)
    assert (code, out, err[-4:], len(err)) == (7, "{}", "last", 4096)
