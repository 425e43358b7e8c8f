"""A service with several replicas: its plan, its price and its task, and what an API server of a team starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from cvl_ci.cli.main import main
from cvl_ci.commands.plan import replicas, service
from cvl_ci.errors import RequestError
from cvl_ci.inputs.deploy_inputs import DeployInputs
from cvl_ci.inputs.reader import Spelling
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from tests.support.field import plant

TOKEN = "a-token-of-the-callers-0123456789"
SERVICE = (
    "service:\n  readiness_probe: {path: /health}\n  load_balancing_policy: round_robin\n"
    "  replica_policy: {min_replicas: 1, max_replicas: 3, target_qps_per_replica: 2.5}\n"
)


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    preset = "resources: {gpu: 1, vram_gb: 16}\npresets:\n  serve: {script: serve.sh, docker: false}\n"
    files = {
        f"examples/{name}/{file}": text
        for name, section in (("plain", ""), ("scaled", SERVICE))
        for file, text in (
            ("example.yaml", f"name: {name}\n{preset}{section}"),
            ("serve.sh", 'PORT="${PORT:-8123}" exec python3 server.py\n'),
        )
    }
    folder = plant(tmp_path / "repository", files)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GITHUB_ACTIONS", "CVL_CI_DEPLOY_TOKEN", "SKYPILOT_API_SERVER_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return folder


def typed(*words: str) -> int:
    return main(["deploy", *words, "--cloud", "aws", "--gpu", "L4"])


def dollars(text: str, pattern: str) -> list[float]:
    match = re.search(pattern, text)
    assert match is not None, text
    return [float(group) for group in match.groups()]


AN_HOUR = r"controller \(\S+\): \$([\d.]+) an hour; with all replicas \$([\d.]+), during an update \$([\d.]+)\."


def test_the_plan_has_the_price_of_all_replicas_and_the_controller(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("scaled", "--dry-run", "--ttl", "2h") == 0
    text = capsys.readouterr().out
    assert "1 to 3 replicas" in text and "up to 6 during an update" in text
    assert "cvl-ci starts none of them" in text and "Nothing was started." in text
    assert "with the token" not in text and "ends itself" not in text, "neither is true of a replica"
    [first] = dollars(text, r"First offer: \$([\d.]+) an hour")
    [dearest] = dollars(text, r"Dearest that it may reach: \$([\d.]+) an hour")
    low, most, update = dollars(text, AN_HOUR)
    controller = low - first
    assert 0.1 < controller < 0.5, "a machine of 4 vCPUs and 8 GiB, with its disk"
    assert most >= 3 * dearest + controller - 0.02
    assert update - most == pytest.approx(3 * dearest, abs=0.03)
    hours, whole = dollars(text, r"([\d.]+) h of it cost up to \$([\d.]+)\.")
    assert hours > 2 and whole == pytest.approx(update * hours, rel=0.01)


def test_the_number_of_a_person_comes_before_that_of_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("scaled", "--replicas", "2", "--dry-run") == 0
    assert "2 replicas" in capsys.readouterr().out
    assert typed("scaled", "--replicas", "1", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "replicas" not in text and "with the token" in text


@pytest.mark.parametrize("words", [("scaled",), ("plain", "--replicas", "2")])
def test_several_replicas_are_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert typed(*words) == 64
    text = capsys.readouterr().err
    assert "replaces them" in text and "Nothing was started" in text
    assert "--replicas 1" in text and "--dry-run" in text and "--yaml" in text
    assert "With an API server it starts" in text


def test_the_task_of_sky_serve_is_yaml_and_tells_that_it_has_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("scaled", "--yaml") == 0
    text = capsys.readouterr().out
    assert text.startswith("# For `sky serve up`.") and "no token, no end" in text
    written = yaml.safe_load(text)
    assert written["service"]["replica_policy"]["max_replicas"] == 3
    assert written["service"]["ports"] == written["resources"]["ports"] == 8123


@pytest.mark.parametrize("words", [("scaled", "--dry-run"), ("scaled", "--yaml"), ("plain", "--yaml")])
def test_spot_or_on_demand_is_refused_as_sky_serve_does(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert typed(*words, "--spot", "fallback") == 64
    assert "all spot or all on-demand" in capsys.readouterr().err


@pytest.mark.parametrize("spelling", list(Spelling))
def test_every_entry_point_refuses_in_its_own_words(checkout: Path, spelling: Spelling) -> None:
    plan = RunPlan(
        title="plain serve",
        work=WorkPlan(example="plain", directory="examples/plain", run_commands=("bash serve.sh",)),
        machines=MachinePlan(locations=(Location(cloud="aws"),)),
    )
    with pytest.raises(RequestError) as refused:
        service.with_service(
            plan, DeployInputs(replicas=3), open_checkout(checkout, at="."), token=TOKEN, spelling=spelling
        )
    assert replicas.REASON in str(refused.value) and spelling.of("replicas") in str(refused.value)


def planned(checkout: Path, *, spelling: Spelling = Spelling.FLAG, **inputs: object) -> RunPlan:
    plan = RunPlan(
        title="scaled serve",
        work=WorkPlan(example="scaled", directory="examples/scaled", run_commands=("bash serve.sh",)),
        machines=MachinePlan(locations=(Location(cloud="aws"),)),
        limits=Limits(max_runtime_minutes=60),
    )
    deploy_inputs = DeployInputs(**inputs)  # type: ignore[arg-type]
    opened = open_checkout(checkout, at=".")
    return service.with_service(plan, deploy_inputs, opened, token=TOKEN, spelling=spelling, through_server=True)


def test_with_an_api_server_all_replicas_count_and_the_plan_tells_the_limits(checkout: Path) -> None:
    plan = planned(checkout)
    assert plan.has_replicas and plan.has_controller and plan.machines.num_nodes == 3
    assert replicas.NO_PROMISE in plan.warnings
    one = planned(checkout, replicas=2)
    assert one.machines.num_nodes == 2 and one.service is not None and one.service.replicas is not None
    assert one.service.replicas.probe_token != plan.service.replicas.probe_token  # type: ignore[union-attr]
    assert TOKEN not in repr(one) and one.service.replicas.probe_token.reveal() not in repr(one)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"tls_cert": "cert.pem"}, "takes plain HTTP"),
        ({"allow": ("203.0.113.7/32",)}, "belongs to the server"),
        ({"replicas": 1}, "replicas 2 or more"),
    ],
)
def test_what_does_not_work_with_an_api_server_is_refused(
    checkout: Path, inputs: dict[str, object], problem: str
) -> None:
    with pytest.raises(RequestError) as refused:
        planned(checkout, spelling=Spelling.KEYWORD, **inputs)
    assert problem in str(refused.value)


def test_the_plan_of_an_api_server_has_the_token_and_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKYPILOT_API_SERVER_ENDPOINT", "http://sky.example")
    assert typed("scaled", "--dry-run", "--ttl", "2h") == 0
    text = capsys.readouterr().out
    assert "1 to 3 replicas" in text and "up to 6" in text and "with the token" in text
    assert "its end is fixed at its launch" in text and "controller belongs to the API server" in text
    assert "starts none" not in text
    assert typed("scaled", "--yaml") == 64
    assert "cannot be combined with an API server" in capsys.readouterr().err
