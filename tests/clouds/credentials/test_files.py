"""Files: 0600, never over somebody else's, and exactly those removed that were made."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds import credential_files
from cvl_ci.clouds import credentials as cloud_credentials
from cvl_ci.errors import CredentialsError
from cvl_ci.model.location import REPLICATED
from tests.clouds.credentials.machine import KEY, KUBECONFIG, ROLE, WITH_OIDC, machine

TOKEN: dict[str, Any] = dict(WITH_OIDC)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A HOME with nothing in it."""
    home = tmp_path / "mine"
    home.mkdir()
    return home


def everything(home: Path) -> set[str]:
    return {path.relative_to(home).as_posix() for path in home.rglob("*")}


def modes(home: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in home.rglob("*")}


def test_what_is_written_is_the_owners_alone_whatever_the_umask(mine: Path) -> None:
    place = machine(mine, lambda_api_key="key_0123456789", kubeconfig=KUBECONFIG)
    before = os.umask(0)
    try:
        cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["lambda", "kubernetes"]))
    finally:
        os.umask(before)
    assert modes(mine) == {(True, 0o700), (False, 0o600)}
    assert (mine / ".lambda_cloud/lambda_keys").read_text() == "api_key = key_0123456789\n"


def test_nothing_is_written_for_a_cloud_that_is_not_in_use(mine: Path) -> None:
    place = machine(mine, lambda_api_key="key_0123456789", runpod_api_key="rpa_0123456789", kubeconfig=KUBECONFIG)
    known = cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["lambda"]))
    assert everything(mine) == {
        ".lambda_cloud",
        ".lambda_cloud/lambda_keys",
        "ours",
        "ours/written.json",
        "ours/skypilot.yaml",
    }
    assert "KUBECONFIG" not in known
    assert not any("RUNPOD" in name and name.startswith("INPUT_") for name in known)


def test_post_removes_all_that_was_made_and_nothing_else(mine: Path) -> None:
    (mine / ".runpod").mkdir()
    (mine / ".runpod/other").write_text("mine")
    before = everything(mine)
    place = machine(mine, lambda_api_key="key_0123456789", runpod_api_key="rpa_01", role_to_assume=ROLE, **TOKEN)
    for _ in ("main", "post"):
        cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["lambda", "runpod", "aws"]))
    assert (mine / ".runpod/config.toml").exists()
    credential_files.remove(place.folder)
    assert everything(mine) == before
    credential_files.remove(place.folder)  # a second time there is nothing to do


def test_what_cannot_be_removed_is_told_and_does_not_keep_the_rest(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = machine(mine, lambda_api_key="key_0123456789", kubeconfig=KUBECONFIG)
    cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["lambda", "kubernetes"]))
    stuck, unlink = mine / ".lambda_cloud/lambda_keys", Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert credential_files.remove(place.folder) == [stuck]
    assert everything(mine) == {".lambda_cloud", ".lambda_cloud/lambda_keys"}


def test_a_file_of_somebody_elses_is_neither_written_over_nor_removed(mine: Path) -> None:
    theirs = mine / ".lambda_cloud/lambda_keys"
    theirs.parent.mkdir()
    theirs.write_text("api_key = theirs\n")
    place = machine(mine, lambda_api_key="key_0123456789")
    with pytest.raises(CredentialsError, match="lambda_keys"):
        cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["lambda"]))
    assert theirs.read_text() == "api_key = theirs\n"
    same = machine(mine, lambda_api_key="theirs")
    cloud_credentials.carry_out(same, cloud_credentials.prepare(same, ["lambda"]))
    credential_files.remove(same.folder)
    assert theirs.exists()


def test_a_link_planted_in_our_place_is_not_written_through(mine: Path) -> None:
    target = mine / "target"
    place = machine(mine, kubeconfig=KUBECONFIG)
    place.folder.mkdir()
    (place.folder / "kubeconfig").symlink_to(target)
    cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["kubernetes"]))
    assert not target.exists()
    assert not (place.folder / "kubeconfig").is_symlink()


def test_what_a_login_leaves_is_removed_and_its_secret_is_no_argument(mine: Path) -> None:
    bin_ = mine / "bin"
    bin_.mkdir()
    (bin_ / "az").write_text('#!/bin/sh\necho "$@" >> "$HOME/called"\nmkdir -p "$HOME/.azure"; : > "$HOME/.azure/x"\n')
    (bin_ / "az").chmod(0o755)
    names: dict[str, Any] = {f"azure_{name}_id": f"{name}-0" for name in ("client", "tenant", "subscription")}
    place = machine(mine, azure_client_secret="s3cr3t-s3cr3t", PATH=f"{bin_}:/bin:/usr/bin", **names)
    cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["azure"]))
    text = (mine / "called").read_text()
    assert f"--password @{mine}/ours/azure" in text
    assert "s3cr3t-s3cr3t" not in text
    assert "account set --subscription subscription-0" in text
    credential_files.remove(place.folder)
    assert not (mine / ".azure").exists()


def test_a_login_that_is_refused_tells_no_word_of_the_program(mine: Path) -> None:
    (mine / "gcloud").write_text("#!/bin/sh\ncat $HOME/ours/gcp.json\nexit 3\n")
    (mine / "gcloud").chmod(0o755)
    place = machine(mine, gcp_credentials_json=KEY, PATH=f"{mine}:/bin:/usr/bin")
    with pytest.raises(CredentialsError, match="exit code 3") as raised:
        cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["gcp"]))
    assert "PRIVATE" not in str(raised.value)


def test_secrets_are_masked_and_shown_by_no_repr(mine: Path) -> None:
    place = machine(mine, gcp_credentials_json=KEY, kubeconfig=KUBECONFIG, lambda_api_key="key_0123456789")
    content = cloud_credentials.prepare(place, ["gcp", "kubernetes", "lambda"])
    assert {KEY, "eyJhbGciOiJSUzI1NiJ9", "key_0123456789"} <= set(content.secrets)
    for text in (repr(place), repr(content)):
        assert not any(secret in text for secret in ("PRIVATE KEY", "eyJhbGci", "key_0123456789"))


def test_keys_given_as_inputs_win_over_what_the_environment_holds(mine: Path) -> None:
    place = machine(
        mine,
        aws_access_key_id="AKIA-mine",
        aws_secret_access_key="mine-mine",
        AWS_SESSION_TOKEN="of another key",
        AWS_PROFILE="other",
    )
    known = cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["aws"]))
    assert known["AWS_ACCESS_KEY_ID"] == "AKIA-mine"
    assert not {"AWS_SESSION_TOKEN", "AWS_PROFILE", "INPUT_AWS_SECRET_ACCESS_KEY"} & known.keys()


def test_a_configuration_of_skypilot_that_is_the_users_stays(mine: Path) -> None:
    place = machine(mine, kubeconfig=KUBECONFIG, SKYPILOT_GLOBAL_CONFIG="/mine")
    assert (
        cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["kubernetes"]))["SKYPILOT_GLOBAL_CONFIG"]
        == "/mine"
    )


KEYS: dict[str, Any] = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "wJalrXUtnFEMI0123456789"}
SERVER: dict[str, Any] = {"skypilot_api_server_endpoint": "https://sky", "skypilot_service_account_token": "sky_0123"}


def test_keys_that_became_variables_are_complete_for_a_later_check(mine: Path) -> None:
    """The secret input is gone then. Next to its lonely id, the variables would count as incomplete."""
    place = machine(mine, **KEYS)
    known = cloud_credentials.carry_out(place, cloud_credentials.prepare(place, ["aws"]))
    assert (known["AWS_ACCESS_KEY_ID"], known["AWS_SECRET_ACCESS_KEY"]) == tuple(KEYS.values())
    assert not [name for name in known if name.startswith("INPUT_AWS")]
    [later] = cloud_credentials.check_clouds(replace(place, environ=known), ["aws"], provable_clouds=["aws"])
    assert later.usable and not later.missing


def test_services_of_a_server_named_with_a_cloud_need_both(mine: Path) -> None:
    place = machine(mine, **KEYS, **SERVER)
    assert cloud_credentials.in_use(place, ["aws"]) == ["api-server"], "a run goes through the server alone"
    assert cloud_credentials.in_use(place, [REPLICATED, "aws"]) == ["api-server", "aws"]
    known = cloud_credentials.carry_out(
        place, cloud_credentials.prepare(place, cloud_credentials.in_use(place, [REPLICATED, "aws"]))
    )
    assert {"AWS_ACCESS_KEY_ID", "SKYPILOT_API_SERVER_ENDPOINT"} <= known.keys()
    assert "SKYPILOT_GLOBAL_CONFIG" not in known, "the server chooses the clouds"
