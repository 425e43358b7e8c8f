"""The verb `deploy` before anything is started: what it plans, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci import SkyPilotRunner
from cvl_ci.cli.main import main
from cvl_ci.commands.plan.service import with_service
from cvl_ci.errors import RequestError
from cvl_ci.inputs.deploy_inputs import NOT_OF_A_SERVICE, DeployInputs
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.checkpoint_plan import CheckpointPlan
from cvl_ci.result.masks import Masks
from cvl_ci.wiring import deploying
from tests import golden
from tests.support import certificates
from tests.support.field import plant

MESSAGES = golden.Messages(__name__)

FILES = {
    "examples/hello/example.yaml": "name: hello\nresources: {gpu: 0}\n"
    "presets:\n  serve: {script: serve.sh, docker: false}\n"
    "  portless: {script: portless.sh, docker: false}\nservice: {readiness_probe: /health}\n",
    "examples/hello/serve.sh": 'PORT="${PORT:-8123}" exec python3 server.py\n',
    "examples/hello/portless.sh": "exec ./server\n",
    "examples/idle/example.yaml": "name: idle\nresources: {gpu: 0}\npresets: {train: {script: train.sh}}\n",
    "examples/idle/train.sh": "true\n",
}


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = plant(tmp_path / "repository", FILES)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GITHUB_ACTIONS", "CVL_CI_DEPLOY_TOKEN", "SKYPILOT_API_SERVER_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return folder


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["deploy", *words])
    streams = capsys.readouterr()
    return code, streams.out + streams.err


def test_a_dry_run_shows_port_probe_life_and_the_bound_of_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = typed(capsys, "hello", "--cloud", "sandbox", "--ttl", "30m", "--dry-run", "--allow", "203.0.113.7")
    assert code == 0, text
    for words in ("port 8123 from its script", "probe /health", "30 min after its first answer", "203.0.113.7/32"):
        assert words in text
    assert "at most $" in text and "Nothing was started." in text
    assert "probably never ends" not in text


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("hello", "--cloud", "gcp"), "opens no port for a service yet"),
        (("hello", "--cloud", "sandbox", "--port", "0"), "not a port"),
        (("hello", "--cloud", "sandbox", "--ready", "health"), "not the path"),
        (("hello", "--cloud", "sandbox", "--allow", "example.com"), "not an IPv4 address"),
        (("hello", "--cloud", "sandbox", "--smoke-schema", "absent.json"), "is not a file of examples/hello"),
        (("hello", "--cloud", "sandbox", "--smoke-schema", "serve.sh"), "is not JSON"),
        (("hello", "--cloud", "sandbox", "--smoke-schema", "a.json", "--steps", "up"), "only with the step smoke"),
        (("hello", "portless", "--cloud", "sandbox"), "names no port"),
        (("idle", "--cloud", "sandbox"), "serve"),
        (("hello", "--cloud", "sandbox", "--ttl", "never"), "not a length of time"),
        (("hello", "--cloud", "sandbox", "--repeat", "3"), "is not an option"),
        (("hello", "--cloud", "sandbox", "--checkpoint-to", "s3://a/b"), "is not an option"),
        (("hello", "--cloud", "sandbox", "--resume", "latest"), "is not an option"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_started(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str
) -> None:
    code, text = typed(capsys, *words, "--dry-run")
    assert code == 64 and problem in text


def test_a_schema_of_the_example_is_in_the_plan(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "examples/hello/answer.json").write_text('{"required": ["version"]}')
    code, text = typed(capsys, "hello", "--cloud", "sandbox", "--dry-run", "--smoke-schema", "answer.json")
    assert code == 0 and "each smoke answer matches answer.json" in text


def written(folder: Path, pair: certificates.Pair) -> tuple[str, ...]:
    """Return the words of a certificate, whose files are in this folder."""
    (folder / "cert.pem").write_text(pair.cert)
    (folder / "key.pem").write_text(pair.key)
    return ("--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"))


def test_a_certificate_is_in_the_plan_and_its_key_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = certificates.pair()
    words = (*written(tmp_path, own), "--domain", certificates.NAME)
    code, text = typed(capsys, "hello", "--cloud", "sandbox", "--dry-run", *words)
    assert code == 0 and f"HTTPS with your certificate, as {certificates.NAME}" in text
    code, task = typed(capsys, "hello", "--cloud", "sandbox", "--yaml", *words)
    assert code == 0 and not any(line in text + task for line in own.key.splitlines())


def test_the_library_hides_the_key_of_a_certificate(checkout: Path) -> None:
    own, masks = certificates.pair(), Masks()
    runner = SkyPilotRunner(checkout=checkout, environment={"HOME": str(checkout)}, cloud="sandbox")
    plan, _ = runner.plan_example("hello", "serve")
    words = {"tls_cert": own.cert, "tls_key": own.key, "domain": certificates.NAME}
    request = deploying.read_request(words, token="", folder=checkout)
    served = request.added_to(plan, masks, {}, print)
    assert served.service is not None and served.service.domain == certificates.NAME
    secret = own.key.splitlines()[1]
    assert secret not in f"{request}{served}" and masks.hide(f"a {secret} b") == "a *** b"


def test_all_mistakes_of_a_certificate_come_at_once_and_show_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = certificates.pair(days=1), certificates.pair()
    words = written(tmp_path, certificates.Pair(cert=own.cert, key=other.key))
    code, text = typed(
        capsys, "hello", "--cloud", "sandbox", "--ttl", "48h", "--domain", "b.example", "--port", "0", *words
    )
    assert code == 64 and "--port" in text
    code, text = typed(capsys, "hello", "--cloud", "gcp", "--ttl", "48h", "--domain", "b.example", *words)
    assert code == 64 and "Nothing was started" in text
    for problem in (
        "--cloud: 'gcp' opens no port",
        "before the latest end of the service; shorten ttl",
        "--domain: 'b.example' is not a name of the certificate, which has models.example.com",
        "--tls-key: '***' does not fit the certificate",
    ):
        assert problem in text
    assert not any(line in text for line in other.key.splitlines())


def frameless(key: str) -> str:
    """Return the text of a key between its first line and its last one."""
    return "".join(key.splitlines()[1:-1])


def test_a_key_without_its_frame_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = frameless(certificates.pair().key)
    words = written(tmp_path, certificates.pair())
    code, text = typed(capsys, "hello", "--cloud", "sandbox", "--dry-run", *words[:3], key)
    assert code == 64 and "--tls-key: '***' is not a file" in text
    assert key[:40] not in text
    code, text = typed(capsys, key, "--cloud", "sandbox", "--dry-run", *words[:3], key)
    assert code == 64 and key[:40] not in text, "a message about another word hides it too"


def test_the_library_hides_a_key_that_it_cannot_read(checkout: Path) -> None:
    key, masks = frameless(certificates.pair().key), Masks()
    runner = SkyPilotRunner(checkout=checkout, environment={"HOME": str(checkout)}, cloud="sandbox")
    plan, _ = runner.plan_example("hello", "serve")
    words = {"tls_cert": certificates.pair().cert, "tls_key": key}
    request = deploying.read_request(words, token="", folder=checkout)
    with pytest.raises(RequestError) as caught:
        request.added_to(plan, masks, {}, print)
    assert key[:40] not in str(caught.value) and masks.hide(f"a {key} b") == "a *** b"


def test_a_workflow_needs_a_token_of_its_own_and_no_message_shows_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    code, text = typed(capsys, "hello", "--cloud", "sandbox", "--dry-run")
    assert code == 64 and "CVL_CI_DEPLOY_TOKEN" in text
    monkeypatch.setenv("CVL_CI_DEPLOY_TOKEN", "short-and-easy")
    code, text = typed(capsys, "hello", "--cloud", "sandbox", "--dry-run")
    assert code == 64 and "short-and-easy" not in text
    monkeypatch.setenv("CVL_CI_DEPLOY_TOKEN", "x" * 40)
    assert typed(capsys, "hello", "--cloud", "sandbox", "--dry-run")[0] == 0


def test_the_list_is_empty_and_an_unknown_name_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = typed(capsys, "--list")
    assert code == 0
    MESSAGES.check("no service", text)
    code, text = typed(capsys, "--status", "cvl-1-0a1b2c3d")
    assert code == 64 and "is not an open service" in text


def test_an_api_server_is_refused_for_one_machine_by_both_doors_and_the_message_names_the_way(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = {"SKYPILOT_API_SERVER_ENDPOINT": "http://user:password@sky.example"}
    runner = SkyPilotRunner(checkout=checkout, environment={"HOME": str(checkout), **server})
    with pytest.raises(RequestError, match="an API server does not offer") as caught:
        runner.deploy("hello", cloud="aws")
    assert "password" not in str(caught.value) and "replicas 2 or more" in str(caught.value)
    monkeypatch.setenv(*next(iter(server.items())))
    code, text = typed(capsys, "hello", "--cloud", "aws", "--dry-run")
    assert code == 64 and "an API server does not offer" in text and "password" not in text
    assert "--replicas 2 or more" in text


def test_a_runner_s_bucket_of_checkpoints_means_nothing_for_its_services(checkout: Path) -> None:
    runner = SkyPilotRunner(
        checkout=checkout,
        environment={"HOME": str(checkout)},
        cloud="aws",
        checkpoint_to="s3://some-bucket/checkpoints",
        checkpoints=["saved-*"],
    )
    plan, _ = runner.plan_example("hello", "serve")
    assert plan.checkpoints.place is not None
    served = with_service(plan, DeployInputs(), open_checkout(checkout, at="."), token="t" * 40)
    assert served.checkpoints == CheckpointPlan()


@pytest.mark.parametrize("name", sorted(NOT_OF_A_SERVICE))
def test_the_library_refuses_the_inputs_that_a_service_does_not_have(checkout: Path, name: str) -> None:
    with pytest.raises(RequestError, match=f"{name}.*cannot be combined with deploy"):
        SkyPilotRunner(checkout=checkout, environment={"HOME": str(checkout)}).deploy("hello", **{name: "1"})


@pytest.mark.parametrize(
    "inputs",
    [
        {"port": "no"},
        {"max_runtime": "1h"},
        {"token": "easy"},
        {"cloud": "lambda"},
        {"nonsense": 1},
        {"domain": "a.example"},
    ],
)
def test_the_library_refuses_the_same(checkout: Path, inputs: dict[str, str]) -> None:
    with pytest.raises(RequestError):
        SkyPilotRunner(checkout=checkout, environment={"HOME": str(checkout)}).deploy("hello", **inputs)


def test_the_help_says_what_is_true_of_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["deploy", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in ("Default: `serve`.", "Default: aws.", "Default: no limit except ttl."):
        assert words in text
    for words in ("max_runtime", "keep_on_failure", "except `build`"):
        assert words not in text
