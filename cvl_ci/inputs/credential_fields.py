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
        help="AWS: the ARN of a role that this workflow may assume by GitHub's OIDC token; "
        "needs `permissions: id-token: write`, no stored key, and is assumed again before it expires.",
    ),
    CredentialField(
        name="aws_access_key_id", help="AWS: an access key, instead of a role.", variable="AWS_ACCESS_KEY_ID"
    ),
    CredentialField(
        name="aws_secret_access_key", help="AWS: its secret.", variable="AWS_SECRET_ACCESS_KEY", secret=True
    ),
    CredentialField(
        name="aws_session_token",
        help="AWS: its session token, if it is a temporary one: it expires and cannot be renewed here.",
        variable="AWS_SESSION_TOKEN",
        secret=True,
    ),
    CredentialField(name="gcp_credentials_json", help="GCP: the JSON key of a service account.", secret=True),
    CredentialField(
        name="gcp_workload_identity_provider",
        help="GCP: `projects/N/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`, instead of a key; "
        "needs `permissions: id-token: write` and `gcp_service_account`.",
    ),
    CredentialField(name="gcp_service_account", help="GCP: the address of the service account to act as."),
    CredentialField(
        name="gcp_project", help="GCP: the project, where the key does not name it.", variable="GOOGLE_CLOUD_PROJECT"
    ),
    CredentialField(name="azure_client_id", help="Azure: the service principal.", variable="AZURE_CLIENT_ID"),
    CredentialField(name="azure_tenant_id", help="Azure: its tenant.", variable="AZURE_TENANT_ID"),
    CredentialField(
        name="azure_subscription_id", help="Azure: the subscription that pays.", variable="AZURE_SUBSCRIPTION_ID"
    ),
    CredentialField(
        name="azure_client_secret",
        help="Azure: its secret; without one, GitHub's OIDC token is used, which needs `permissions: id-token: write`.",
        variable="AZURE_CLIENT_SECRET",
        secret=True,
    ),
    CredentialField(name="lambda_api_key", help="Lambda: an API key.", variable="LAMBDA_API_KEY", secret=True),
    CredentialField(name="runpod_api_key", help="RunPod: an API key.", variable="RUNPOD_API_KEY", secret=True),
    CredentialField(
        name="nebius_iam_token",
        help="Nebius: an IAM token, which lives some hours.",
        variable="NEBIUS_IAM_TOKEN",
        secret=True,
    ),
    CredentialField(
        name="nebius_credentials_json", help="Nebius: the key file of a service account, instead.", secret=True
    ),
    CredentialField(name="nebius_tenant_id", help="Nebius: the tenant.", variable="NEBIUS_TENANT_ID"),
    CredentialField(name="kubeconfig", help="Kubernetes: a kubeconfig, as its text.", secret=True),
    CredentialField(
        name="skypilot_api_server_endpoint",
        help="The address of a SkyPilot API server, for runs to go through it: it has the clouds' credentials.",
        variable="SKYPILOT_API_SERVER_ENDPOINT",
    ),
    CredentialField(
        name="skypilot_service_account_token",
        help="The token for it, which begins with `sky_`.",
        variable="SKYPILOT_SERVICE_ACCOUNT_TOKEN",
        secret=True,
    ),
)

BY_NAME = {one.name: one for one in CREDENTIAL_INPUTS}
