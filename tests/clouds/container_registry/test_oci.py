"""The Registry port against a real registry, and against answers that a hostile one could give."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cvl_ci.clouds.container_registry import oci
from cvl_ci.clouds.container_registry.oci import OciRegistry
from cvl_ci.errors import ImageError
from cvl_ci.model.container_image import ImageName, RegistryLogin, image_name
from cvl_ci.model.secret import Secret
from tests.support import image_registry

LOGIN = RegistryLogin(user="anna", password=Secret("a-password-of-the-registry"))
HTPASSWD = "anna:$2b$04$vczf/ln3IJn2RwbDJSDcC.Ph.vea2mUseENUdX6bXSueG0KmGc9tS\n"
"""bcrypt of that password: docker-registry takes no other format."""
Answer = tuple[int, dict[str, str], bytes]


def named(text: str) -> ImageName:
    name = image_name(text)
    assert name is not None
    return name


def test_a_real_registry_gives_the_digest_of_a_tag_and_nothing_for_an_absent_one(tmp_path: Path) -> None:
    with image_registry.serving(tmp_path) as host:
        digest = image_registry.put_image(host, "cvl/images", "one")
        ask = OciRegistry().digest
        assert ask(named(f"{host}/cvl/images:one"), None) == digest
        assert ask(named(f"{host}/cvl/images@{digest}"), None) == digest
        assert ask(named(f"{host}/cvl/images:two"), None) == ask(named(f"{host}/other:one"), None) == ""
    with pytest.raises(ImageError, match="did not answer"):
        ask(named(f"{host}/cvl/images:one"), None)


def test_a_real_registry_with_a_login_refuses_others(tmp_path: Path) -> None:
    basic = f"Basic {base64.b64encode(f'anna:{LOGIN.password.reveal()}'.encode()).decode()}"
    with image_registry.serving(tmp_path, htpasswd=HTPASSWD) as host:
        digest = image_registry.put_image(host, "private", "one", authorization=basic)
        name = named(f"{host}/private:one")
        assert OciRegistry().digest(name, LOGIN) == digest
        wrong = RegistryLogin(user="anna", password=Secret("another"))
        for login in (None, wrong):
            with pytest.raises(ImageError, match="refuses") as error:
                OciRegistry().digest(name, login)
            assert "another" not in str(error.value)


@contextmanager
def answering(answer: Callable[[str, str], Answer]) -> Iterator[str]:
    """Serve answers by path and `Authorization`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_token_is_asked_at_the_named_realm_for_this_repository_alone() -> None:
    """distribution.github.io/distribution, "Token Authentication Specification"."""
    results: list[tuple[str, str]] = []

    def answer(path: str, authorization: str) -> Answer:
        results.append((path, authorization))
        if path.startswith("/token"):
            return 200, {}, json.dumps({"access_token": "t0ken"}).encode()
        if authorization == "Bearer t0ken":
            return 200, {}, b"{}"
        realm = f'Bearer realm="http://{host}/token",service="registry.test",scope="repository:other:push"'
        return 401, {"WWW-Authenticate": realm}, b""

    with answering(answer) as host:
        digest = OciRegistry().digest(named(f"{host}/cvl/images:one"), LOGIN)
    assert digest == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "SHA-256 of {}"
    assert results[1][0] == "/token?service=registry.test&scope=repository%3Acvl%2Fimages%3Apull"
    assert results[1][1].startswith("Basic ") and results[0][1] == ""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((200, {"Docker-Content-Digest": "sha256:" + "0" * 64}, b"{}"), "digest is another"),
        ((200, {"Docker-Content-Digest": "latest"}, b"{}"), "digest is another"),
        ((500, {}, b""), "answered 500"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "did not answer"),
        ((200, {}, b"x" * (5 << 20)), "did not answer"),
        ((401, {"WWW-Authenticate": 'Bearer realm="http://203.0.113.1/token"'}, b""), "refuses"),
        ((401, {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:80@evil.example/t"'}, b""), "refuses"),
        ((401, {"WWW-Authenticate": 'Bearer realm="https://[x"'}, b""), "refuses"),
        ((401, {"WWW-Authenticate": "Negotiate"}, b""), "refuses"),
        ((403, {}, b""), "refuses"),
    ],
)
def test_an_answer_that_proves_nothing_is_an_error(answer: Answer, problem: str) -> None:
    with answering(lambda *_: answer) as host, pytest.raises(ImageError, match=problem):
        OciRegistry().digest(named(f"{host}/cvl/images:one"), LOGIN)


@pytest.mark.parametrize(
    ("host", "realm", "is_safe"),
    [
        ("registry.test", "https://auth.test/t", True),
        ("127.0.0.1:5000", "http://127.0.0.1:5001/t", True),
        ("registry.test", "http://127.0.0.1:8080/t", False),
        ("127.0.0.1:5000", "http://127.0.0.1:80@evil.example/t", False),
        ("registry.test", "https://user@auth.test/t", False),
        ("registry.test", "https://", False),
        ("registry.test", "https://[x", False),
    ],
)
def test_a_login_goes_to_no_plain_http_but_this_computer_s(host: str, realm: str, is_safe: bool) -> None:
    assert oci._is_safe(realm, host) is is_safe


def test_a_long_challenge_costs_no_more_than_its_bound() -> None:
    """By the same search with and without the length that a head may have: a ratio within one process."""
    times = []
    for length in (oci.LONGEST_CHALLENGE, 16 * oci.LONGEST_CHALLENGE):
        begin = time.process_time()
        for _ in range(20):
            oci._PARAMETER.findall("a" * length)
        times.append(time.process_time() - begin)
    assert times[1] < 80 * times[0] + 0.05


def test_a_digest_s_manifest_is_that_digest() -> None:
    with answering(lambda *_: (200, {}, b"{}")) as host, pytest.raises(ImageError, match="digest is another"):
        OciRegistry().digest(named(f"{host}/cvl/images@sha256:{'0' * 64}"), None)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("debian", ("docker.io", "library/debian", "", "")),
        ("owner/name:1", ("docker.io", "owner/name", "1", "")),
        ("ghcr.io/owner/name", ("ghcr.io", "owner/name", "", "")),
        ("localhost/name:a", ("localhost", "name", "a", "")),
        ("127.0.0.1:5000/a/b@sha256:" + "a" * 64, ("127.0.0.1:5000", "a/b", "", "sha256:" + "a" * 64)),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text: str, parts: tuple[str, ...]) -> None:
    name = named(text)
    assert (name.host, name.path, name.tag, name.digest) == parts


@pytest.mark.parametrize("text", ["", "A", "a b", "ghcr.io/Owner/x", "a@sha256:1", "a/", "-x", "a:b:c", "a\n", "$(id)"])
def test_other_text_is_not_a_name(text: str) -> None:
    assert image_name(text) is None
