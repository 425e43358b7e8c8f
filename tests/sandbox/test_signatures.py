"""A request is answered when it is signed with a key of this sandbox, as botocore signs, and never otherwise."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from cvl_ci.sandbox.emulator.signatures import Keyring, Refusal, refusal
from cvl_ci.sandbox.keys import AccessKey, Keys, new_key

KEYS = Keys(client=new_key("AKIA"), witness=new_key("AKIA"), control="c")
ALIVE = {"i-alive"}
Environ = dict[str, Any]


def keyring() -> Keyring:
    return Keyring(KEYS, alive=ALIVE.__contains__)


def sent(service: str, call: str, *, key: AccessKey = KEYS.client, token: str | None = None, **words: Any) -> Environ:
    """What a server reads of a call by boto3, which signs it."""
    client: Any = boto3.client(
        service,  # type: ignore[call-overload]
        region_name="us-east-1",
        endpoint_url="http://10.9.0.1:4711",
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        aws_session_token=token,
        config=Config(s3={"addressing_style": "path"}),
    )
    messages: list[Any] = []

    class Sent(Exception):
        pass

    def stop(request: Any, **_: Any) -> None:
        messages.append(request)
        raise Sent

    client.meta.events.register(f"before-send.{client.meta.service_model.service_id.hyphenize()}", stop)
    with pytest.raises(Sent):
        getattr(client, call)(**words)
    (request,) = messages
    return environ(request.method, request.url, dict(request.headers.items()), request.body)


def environ(method: str, url: str, headers: dict[str, Any], body: Any) -> Environ:
    place = urlsplit(url)
    content = body.read() if hasattr(body, "read") else body or b""
    content = content.encode() if isinstance(content, str) else content
    named = {
        name.upper().replace("-", "_"): value.decode() if isinstance(value, bytes) else str(value)
        for name, value in headers.items()
    }
    own: Environ = {name: named.pop(name) for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if name in named}
    return {
        "REQUEST_METHOD": method,
        "RAW_URI": f"{place.path}?{place.query}" if place.query else place.path,
        "HTTP_HOST": place.netloc,
        "wsgi.input": io.BytesIO(content),
        **own,
        "CONTENT_LENGTH": str(len(content)),
        **{f"HTTP_{name}": value for name, value in named.items()},
    }


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("ec2", "run_instances", {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1, "UserData": "ü + & %"}),
    ("ec2", "describe_instances", {"Filters": [{"Name": "tag:x", "Values": ["a b", "c/d"]}]}),
    ("sts", "get_caller_identity", {}),
    ("iam", "get_role", {"RoleName": "skypilot-v1"}),
    ("service-quotas", "list_service_quotas", {"ServiceCode": "ec2"}),
    ("s3", "list_buckets", {}),
    ("s3", "put_object", {"Bucket": "b", "Key": "a b/ü+%/c", "Body": b"x" * 1000}),
    ("s3", "get_object", {"Bucket": "b", "Key": "a//b/../c"}),
    ("s3", "list_objects_v2", {"Bucket": "b", "Prefix": "a b/+", "Delimiter": "/"}),
    ("lambda", "get_function", {"FunctionName": "a:b"}),
]
NAMES = [f"{service}:{call}" for service, call, _ in CALLS]


@pytest.mark.parametrize(("service", "call", "words"), CALLS, ids=NAMES)
def test_what_boto3_signs_is_answered_and_its_body_is_still_there(service: str, call: str, words: Any) -> None:
    for key in (KEYS.client, KEYS.witness):
        request = sent(service, call, key=key, **words)
        assert refusal(request, keyring()) is None
        assert len(request["wsgi.input"].read()) == int(request["CONTENT_LENGTH"])


@pytest.mark.parametrize(("service", "call", "words"), CALLS, ids=NAMES)
def test_what_is_signed_wrongly_or_with_another_key_is_refused(service: str, call: str, words: Any) -> None:
    wrong = (
        AccessKey(id=KEYS.client.id, secret="guessed"),
        AccessKey(id=new_key("AKIA").id, secret=KEYS.client.secret),
        new_key("AKIA"),
    )
    for key in wrong:
        answer = refusal(sent(service, call, key=key, **words), keyring())
        assert isinstance(answer, Refusal)
        assert answer.code in {"AuthFailure", "SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidClientTokenId"}
        assert (answer.code == "AuthFailure") == (service == "ec2")


UNSIGNED = (
    *("", "Basic eDp5", "AWS AKIA:sig", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a"),
    "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=ü",
)


def altered(asked: Environ, **more: Any) -> Environ:
    return {**asked, **more}


def test_nothing_of_a_signed_request_can_be_changed() -> None:
    def asked() -> Environ:
        return sent("ec2", "terminate_instances", InstanceIds=["i-1"])

    assert refusal(asked(), keyring()) is None
    body = b"Action=RunInstances"
    changes: list[Environ] = [
        {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))},
        {"REQUEST_METHOD": "GET"},
        {"RAW_URI": "/?Action=RunInstances"},
        {"HTTP_HOST": "elsewhere:80"},
        {"HTTP_X_AMZ_DATE": "20200101T000000Z"},
        {"HTTP_AUTHORIZATION": asked()["HTTP_AUTHORIZATION"].replace("/us-east-1/", "/us-west-2/")},
    ]
    for change in changes:
        assert refusal(altered(asked(), **change), keyring()) is not None, change


@pytest.mark.parametrize("authorization", UNSIGNED)
def test_what_is_not_signed_is_refused_in_the_words_of_aws(authorization: str) -> None:
    request = environ("POST", "http://10.9.0.1:4711/", {"Authorization": authorization}, b"Action=RunInstances")
    answer = refusal(request, keyring())
    assert answer is not None
    assert answer.status[:3] in {"401", "403"}
    kind, body = answer.body()
    assert kind == "text/xml"
    assert b"<Code>" in body


def test_a_link_that_is_signed_beforehand_opens_what_it_names() -> None:
    request = AWSRequest("GET", "http://10.9.0.1:4711/bucket/a%20b?x=1")
    S3SigV4QueryAuth(Credentials(KEYS.client.id, KEYS.client.secret), "s3", "us-east-1").add_auth(request)
    url = request.prepare().url
    assert refusal(environ("GET", url, {}, b""), keyring()) is None
    assert refusal(environ("GET", url.replace("a%20b", "other"), {}, b""), keyring()) is not None


def test_a_machines_key_opens_with_its_token_and_until_its_end() -> None:
    ring = keyring()
    own, other = ring.of_machine("i-alive"), ring.of_machine("i-gone")
    assert ring.of_machine("i-alive") == own
    assert own.key.secret not in repr(own)
    assert own.token not in repr(own)
    call: tuple[str, str] = ("ec2", "describe_tags")
    assert refusal(sent(*call, key=own.key, token=own.token), ring) is None
    assert refusal(sent(*call, key=own.key, token=other.token), ring) is not None
    assert refusal(sent(*call, key=own.key), ring) is not None
    assert refusal(sent(*call, key=other.key, token=other.token), ring) is not None
