"""The action's inputs for credentials: for which cloud, and the variable that says the same in an environment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CredentialField:
    """`variable`: what the input is called in an environment; empty where no such name is in use."""

    name: str
    help: str
    variable: str = ""
    secret: bool = False


CREDENTIAL_INPUTS = (
    CredentialField(
        name="role_to_assume",
        help="AWS: the ARN of a role that this workflow may assume by GitHub's OIDC token. It needs "
        "`permissions: id-token: write` and no stored key. cvl-ci assumes it again before it expires.",
    ),
    CredentialField(
        name="aws_access_key_id", help="AWS: an access key, instead of a role.", variable="AWS_ACCESS_KEY_ID"
    ),
    CredentialField(
        name="aws_secret_access_key",
        help="AWS: the secret of the access key.",
        variable="AWS_SECRET_ACCESS_KEY",
        secret=True,
    ),
    CredentialField(
        name="aws_session_token",
        help="AWS: the session token of a temporary access key, which expires and which cvl-ci cannot renew.",
        variable="AWS_SESSION_TOKEN",
        secret=True,
    ),
    CredentialField(name="gcp_credentials_json", help="GCP: the JSON key of a service account.", secret=True),
    CredentialField(
        name="gcp_workload_identity_provider",
        help="GCP: `projects/N/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`, instead of a "
        "key. It needs `permissions: id-token: write` and `gcp_service_account`.",
    ),
    CredentialField(name="gcp_service_account", help="GCP: the address of the service account that the run uses."),
    CredentialField(
        name="gcp_project", help="GCP: the project, when the key does not name it.", variable="GOOGLE_CLOUD_PROJECT"
    ),
    CredentialField(
        name="azure_client_id", help="Azure: the client id of the service principal.", variable="AZURE_CLIENT_ID"
    ),
    CredentialField(name="azure_tenant_id", help="Azure: the tenant.", variable="AZURE_TENANT_ID"),
    CredentialField(
        name="azure_subscription_id", help="Azure: the subscription that pays.", variable="AZURE_SUBSCRIPTION_ID"
    ),
    CredentialField(
        name="azure_client_secret",
        help="Azure: the secret of the service principal. Without it, cvl-ci uses GitHub's OIDC token, which "
        "needs `permissions: id-token: write`.",
        variable="AZURE_CLIENT_SECRET",
        secret=True,
    ),
    CredentialField(name="lambda_api_key", help="Lambda: an API key.", variable="LAMBDA_API_KEY", secret=True),
    CredentialField(name="runpod_api_key", help="RunPod: an API key.", variable="RUNPOD_API_KEY", secret=True),
    CredentialField(
        name="nebius_iam_token",
        help="Nebius: an IAM token, valid for some hours, for `cvl-ci check` alone: cvl-ci refuses runs there.",
        variable="NEBIUS_IAM_TOKEN",
        secret=True,
    ),
    CredentialField(
        name="nebius_credentials_json",
        help="Nebius: the key file of a service account, instead of a token, for `cvl-ci check` alone.",
        secret=True,
    ),
    CredentialField(
        name="nebius_tenant_id", help="Nebius: the tenant, for `cvl-ci check` alone.", variable="NEBIUS_TENANT_ID"
    ),
    CredentialField(name="kubeconfig", help="Kubernetes: the text of a kubeconfig.", secret=True),
    CredentialField(
        name="skypilot_api_server_endpoint",
        help="The address of a SkyPilot API server. Runs then go through it, with its credentials.",
        variable="SKYPILOT_API_SERVER_ENDPOINT",
    ),
    CredentialField(
        name="skypilot_service_account_token",
        help="The service account token for that server, which begins with `sky_`.",
        variable="SKYPILOT_SERVICE_ACCOUNT_TOKEN",
        secret=True,
    ),
)

BY_NAME = {one.name: one for one in CREDENTIAL_INPUTS}
