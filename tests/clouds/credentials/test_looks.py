"""What is there, what is missing, what it would take: for each cloud, from inputs, variables and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds import credentials as cloud_credentials
from cvl_ci.clouds.kubernetes import credentials as kubernetes_credentials
from cvl_ci.clouds.registry import credential_providers
from cvl_ci.errors import CredentialsError
from tests.clouds.credentials.machine import KEY, KUBECONFIG, PROVIDER, ROLE, WITH_OIDC, machine

COMPLETE: list[tuple[str, dict[str, str]]] = [
    ("aws", {"role_to_assume": ROLE, **WITH_OIDC}),
    ("aws", {"aws_access_key_id": "AKIA0123", "aws_secret_access_key": "s3cr3t-s3cr3t"}),
    ("aws", {"AWS_ACCESS_KEY_ID": "AKIA0123", "AWS_SECRET_ACCESS_KEY": "s3cr3t-s3cr3t"}),
    ("aws", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token", "AWS_ROLE_ARN": ROLE}),
    ("gcp", {"gcp_credentials_json": KEY}),
    (
        "gcp",
        {"gcp_workload_identity_provider": PROVIDER, "gcp_service_account": "a@b", "gcp_project": "p", **WITH_OIDC},
    ),
    (
        "azure",
        {"azure_client_id": "c", "azure_tenant_id": "t", "azure_subscription_id": "s", "azure_client_secret": "s3cr3t"},
    ),
    ("azure", {"azure_client_id": "c", "azure_tenant_id": "t", "azure_subscription_id": "s", **WITH_OIDC}),
    ("lambda", {"lambda_api_key": "secret_key_0123"}),
    ("runpod", {"RUNPOD_API_KEY": "rpa_0123456789"}),
    ("nebius", {"nebius_iam_token": "ne1_0123456789", "nebius_tenant_id": "tenant-1"}),
    ("kubernetes", {"kubeconfig": KUBECONFIG}),
    ("api-server", {"skypilot_api_server_endpoint": "https://sky", "skypilot_service_account_token": "sky_0123"}),
]
INCOMPLETE: list[tuple[str, dict[str, str], str]] = [
    ("aws", {"role_to_assume": ROLE}, "OIDC token"),
    ("aws", {"role_to_assume": "ci", **WITH_OIDC}, "not the ARN"),
    ("aws", {"aws_access_key_id": "AKIA0123"}, "`aws_secret_access_key`"),
    ("gcp", {"gcp_credentials_json": "{"}, "gcp_credentials_json` is not one"),
    ("gcp", {"gcp_workload_identity_provider": PROVIDER, **WITH_OIDC}, "`gcp_service_account`"),
    ("gcp", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"}, "/nowhere"),
    ("azure", {"azure_client_id": "c"}, "`azure_tenant_id`"),
    ("lambda", {"lambda_api_key": "two words"}, "spaces"),
    ("nebius", {"nebius_iam_token": "ne1_0123456789"}, "`nebius_tenant_id`"),
    ("kubernetes", {"kubeconfig": "users: []"}, "not a kubeconfig"),
    ("api-server", {"skypilot_api_server_endpoint": "sky", "skypilot_service_account_token": "x"}, "`sky_`"),
    (
        "api-server",
        {"skypilot_api_server_endpoint": "https://me:pass@sky", "skypilot_service_account_token": "sky_0123"},
        "without a user and a password",
    ),
    *((cloud, {}, "any credentials") for cloud in credential_providers() if cloud != "api-server"),
]


@pytest.mark.parametrize(("cloud", "values"), COMPLETE)
def test_what_is_complete_is_known_and_named(cloud: str, values: dict[str, str], tmp_path: Path) -> None:
    result = credential_providers()[cloud].check(machine(tmp_path, **_typed(values)))
    assert result.is_known, result
    secret = [value for name, value in values.items() if "secret" in name.lower() or "token" in name or "key" in name]
    assert not any(value in repr(result) for value in secret)


@pytest.mark.parametrize(("cloud", "values", "text"), INCOMPLETE)
def test_what_is_missing_is_named_with_what_to_do(
    cloud: str, values: dict[str, str], text: str, tmp_path: Path
) -> None:
    result = credential_providers()[cloud].check(machine(tmp_path, **_typed(values)))
    assert not result.is_known
    assert text in "; ".join(result.missing)
    assert result.takes


@pytest.mark.parametrize(
    ("cloud", "lacks"),
    [
        ("aws", "aws"),
        ("aws", "boto3"),
        ("gcp", "gcloud"),
        ("azure", "az"),
        ("runpod", "runpod"),
        ("nebius", "nebius"),
        ("kubernetes", "kubectl"),
    ],
)
def test_a_program_that_the_check_calls_is_missed(cloud: str, lacks: str, tmp_path: Path) -> None:
    values = next(values for name, values in COMPLETE if name == cloud)
    result = credential_providers()[cloud].check(machine(tmp_path, lacks=[lacks], **_typed(values)))
    assert [lacks in missing for missing in result.missing] == [True]
    assert result.takes


def test_a_key_in_a_variable_counts_only_where_somebody_writes_the_file_that_is_read(tmp_path: Path) -> None:
    for cloud, variable in (("lambda", "LAMBDA_API_KEY"), ("runpod", "RUNPOD_API_KEY")):
        look = credential_providers()[cloud].check
        assert look(machine(tmp_path, **_typed({variable: "key_0123456789"}))).is_known
        assert not look(machine(tmp_path, writes=False, **_typed({variable: "key_0123456789"}))).is_known


@pytest.mark.parametrize(
    ("file", "text", "variables"),
    [
        (".aws/credentials", "[default]\naws_access_key_id = AKIA\n", {}),
        (".aws/config", "[default]\nsso_session = corp\n", {}),
        (".aws/config", "[profile default]\ncredential_process = x\n", {}),
        (".aws/config", "[profile corp]\nrole_arn = arn\n", {"AWS_PROFILE": "corp"}),
    ],
)
def test_a_profile_of_the_users_is_found(file: str, text: str, variables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / file).write_text(text)
    assert credential_providers()["aws"].check(machine(tmp_path, **_typed(variables))).is_known
    assert not credential_providers()["aws"].check(machine(tmp_path, AWS_PROFILE="other")).is_known


def test_a_pod_with_a_service_account_needs_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    monkeypatch.setattr(kubernetes_credentials, "IN_CLUSTER", str(token))
    place = machine(tmp_path, KUBERNETES_SERVICE_HOST="192.0.2.1")
    assert not kubernetes_credentials.check(place).is_known
    token.touch()
    assert kubernetes_credentials.check(place).is_known


def test_a_machine_with_a_role_of_its_own_needs_no_file(tmp_path: Path) -> None:
    assert credential_providers()["aws"].check(machine(tmp_path, role=True)).is_known


def test_all_that_is_missing_is_told_at_once_and_costs_77(tmp_path: Path) -> None:
    ticks = cloud_credentials.check_clouds(
        machine(tmp_path, aws_access_key_id="AKIA", lambda_api_key="a b"),
        ["aws", "lambda"],
        provable_clouds=["aws", "lambda"],
    )
    with pytest.raises(CredentialsError, match=r"(?s)aws: `aws_secret.*lambda: a key") as raised:
        cloud_credentials.require(ticks, any_of_them=False)
    assert raised.value.exit_code == 77
    assert "Nothing was started" in str(raised.value)


def test_any_cloud_means_one_that_is_known(tmp_path: Path) -> None:
    place = machine(tmp_path, lambda_api_key="key_0123456789")
    cloud_credentials.require(
        cloud_credentials.check_clouds(place, ["aws", "lambda"], provable_clouds=["aws", "lambda"]), any_of_them=True
    )
    with pytest.raises(CredentialsError):
        cloud_credentials.require(
            cloud_credentials.check_clouds(place, ["aws", "lambda"], provable_clouds=["aws", "lambda"]),
            any_of_them=False,
        )


def test_a_cloud_that_cannot_be_asked_for_a_release_is_not_called_usable(tmp_path: Path) -> None:
    place = machine(tmp_path, lambda_api_key="key_0123456789")
    [unproved], [proved] = (
        cloud_credentials.check_clouds(place, ["lambda"], provable_clouds=clouds) for clouds in ([], ["lambda"])
    )
    assert (unproved.is_known, unproved.usable, proved.usable) == (True, False, True)


@pytest.mark.parametrize("cloud", ["nebius", "vast"])
def test_a_run_to_a_cloud_that_cannot_be_asked_is_refused_whatever_its_credentials(cloud: str, tmp_path: Path) -> None:
    place = machine(tmp_path, nebius_iam_token="token_0123456789", nebius_tenant_id="tenant-0123")
    looks = cloud_credentials.check_clouds(place, [cloud], provable_clouds=["aws"])
    with pytest.raises(CredentialsError, match="could not prove that a run there") as error:
        cloud_credentials.require(looks, any_of_them=False)
    assert f"- {cloud}: a way to ask whether" in error.value.what


def _typed(given: dict[str, str]) -> dict[str, Any]:
    return dict(given)
