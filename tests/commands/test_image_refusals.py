"""The step `image` before anything is built: what it refuses, at the command line and in the library."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci import SkyPilotRunner
from cvl_ci.cli.main import main
from cvl_ci.errors import RequestError
from tests.support.field import plant

SERVE = "presets: {serve: {script: serve.sh, docker: false}}\n"
FILES = {
    "examples/bare/example.yaml": f"name: bare\nresources: {{gpu: 0}}\n{SERVE}",
    "examples/bare/serve.sh": "PORT=8123 exec python3 server.py\n",
    "examples/odd/example.yaml": f"name: odd\nresources: {{gpu: 0}}\n{SERVE}",
    "examples/odd/serve.sh": "PORT=8123 exec python3 server.py\n",
    "examples/odd/build.sh": "docker build --target small .\n",
    "examples/odd/Dockerfile": "FROM scratch\n",
    "examples/loads/example.yaml": "name: loads\npresets: {build: make.sh, serve: serve.sh}\n"
    "resources: {gpu: 0, downloads: [{url: 'https://example.test/w', dest: w}]}\n",
    "examples/loads/make.sh": "docker build .\n",
    "examples/loads/serve.sh": "PORT=8123 docker run x\n",
    "examples/loads/Dockerfile": "FROM scratch\n",
    "examples/makes/example.yaml": "name: makes\nresources: {gpu: 0}\npresets: {build: make.sh, serve: serve.sh}\n",
    "examples/makes/make.sh": "make image\n",
    "examples/makes/build.sh": "docker build .\n",
    "examples/makes/serve.sh": "PORT=8123 docker run x\n",
    "examples/makes/Dockerfile": "FROM scratch\n",
    "examples/own/example.yaml": f"name: own\nresources: {{gpu: 0}}\n{SERVE}"
    "service: {ports: 9000, readiness_probe: /own}\n",
    "examples/own/serve.sh": "PORT=8123 exec python3 server.py\n",
}


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = plant(tmp_path / "repository", FILES)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GITHUB_ACTIONS", "CVL_CI_DEPLOY_TOKEN", "SKYPILOT_API_SERVER_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return folder


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["deploy", *words])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


HERE = ("--registry", "127.0.0.1:5000/cvl/images")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("bare", "--cloud", "sandbox", *HERE), "has no Dockerfile"),
        (("odd", "--cloud", "sandbox", *HERE), "builds with --target"),
        (("loads", "--cloud", "sandbox", *HERE), "has downloads before its build"),
        (("makes", "--cloud", "sandbox", *HERE), "no `docker build` in its build"),
        (("odd", "--cloud", "aws", *HERE), "machines of a cloud cannot reach"),
        (("odd", "--cloud", "sandbox", *HERE, "--image", "a/b:1"), "is an image that exists"),
        (("--command", "python3 x", "--port", "80", "--cloud", "sandbox", *HERE), "works only with an example"),
        (("odd", "--cloud", "sandbox", "--registry", "localhost/cvl/images"), "names no port of this computer"),
        (("odd", "--cloud", "sandbox", "--registry", "no-path"), "is not HOST/PATH"),
        (("odd", "--cloud", "sandbox", "--registry", "ghcr.io/Owner/x"), "is not HOST/PATH"),
        (("odd", "--cloud", "sandbox", "--steps", "image"), "the step image pushes to it"),
        (("odd", "--cloud", "sandbox", "--steps", "imag"), "Did you mean image"),
        (("odd", "--cloud", "sandbox", "--steps", "yaml,smoke"), "smoke without up"),
        (("odd", "--steps", "smoke"), "works only with `--steps smoke`"),
        (("odd", "--steps", "up", "--url", "http://127.0.0.1:1"), "works only with `--steps smoke`"),
        (("--steps", "smoke", "--url", "http://127.0.0.1:1"), "CVL_CI_DEPLOY_TOKEN"),
    ],
)
def test_a_mistake_is_refused_with_one_clear_error(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str
) -> None:
    code, out, err = typed(capsys, *words)
    assert (code, out) == (64, "") and problem in err, err


def test_the_step_yaml_prints_the_task_with_the_user_s_own_service(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = typed(capsys, "own", "--cloud", "aws", "--gpu", "L4", "--steps", "yaml")
    assert code == 0, err
    assert "yaml: SkyPilot's schema accepts the" in err and "Nothing was started." in err
    for words in ("ports: 9000", "path: /own", "replicas: 1", "L4: 1"):
        assert words in out, out


def test_smoke_alone_tells_each_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVL_CI_DEPLOY_TOKEN", "t" * 40)
    words = ("--steps", "smoke", "--url", "http://127.0.0.1:1", "--ready", "/health")
    code, _, err = typed(capsys, *words)
    assert code == 70 and "did not answer every request" in err and "t" * 40 not in err
    assert typed(capsys, *words, "--dry-run")[0] == 0


def test_the_library_refuses_the_same(checkout: Path) -> None:
    runner = SkyPilotRunner(checkout=checkout, environment={"HOME": str(checkout)})
    with pytest.raises(RequestError, match="has no Dockerfile"):
        runner.deploy("bare", cloud="sandbox", registry="127.0.0.1:5000/cvl/images")
