"""Azure: a service principal with its secret or with GitHub's OIDC token, logged in through `az`.

SkyPilot uses Azure only through the az program (sky/adaptors/azure.py: AzureCliCredential; sky/clouds/azure.py needs
~/.azure/msal_token_cache.json), so variables alone are not enough. az reads secrets from `@FILE`.
"""

from __future__ import annotations

from cvl_ci.clouds.credential_provider import (
    ALLOW_OIDC,
    CredentialFiles,
    CredentialProvider,
    Environment,
    Login,
    find_missing,
)
from cvl_ci.model.access import CloudAccess

AUDIENCE = "api://AzureADTokenExchange"
CACHE = "~/.azure/msal_token_cache.json"
NAMES = ("azure_client_id", "azure_tenant_id", "azure_subscription_id")
TAKES = (
    "in a workflow `azure_client_id`, `azure_tenant_id`, `azure_subscription_id`, and `permissions: id-token: write` "
    "or `azure_client_secret`; in a terminal `az login` and `az account set -s SUBSCRIPTION`"
)
NOTE = "with OIDC, az stays logged in for about an hour, and only post logs it in again"


def check(environment: Environment) -> CloudAccess:
    available, missing, takes, notes = _way(environment)
    if not available and not missing:
        missing, takes = ["any credentials"], [TAKES]
    extra = "pip install 'cvl-ci[azure]'"
    missing_software, steps = find_missing(
        environment, programs={"az": extra}, modules={"azure.storage.blob": extra, "msgraph": extra}
    )
    return CloudAccess(
        cloud="azure",
        available=tuple(available),
        missing=(*missing, *missing_software),
        takes=(*takes, *steps),
        notes=tuple(notes),
    )


def write(environment: Environment) -> CredentialFiles:
    client, tenant, subscription = map(environment.value_for_file, NAMES)
    secret = environment.value_for_file("azure_client_secret")
    if not (client and tenant and subscription) or not (secret or environment.oidc):
        return CredentialFiles()
    path = environment.folder / "azure"
    text = secret or environment.id_token(AUDIENCE)
    option = "--password" if secret else "--federated-token"
    principal = ("--username", client, "--tenant", tenant)
    return CredentialFiles(
        files={path: text},
        secrets=(text,),
        logins=(
            Login(
                command=("az", "login", "--service-principal", *principal, option, f"@{path}", "--output", "none"),
                leaves=environment.expand("~/.azure"),
            ),
            Login(command=("az", "account", "set", "--subscription", subscription)),
        ),
    )


AZURE = CredentialProvider(cloud="azure", check=check, write=write)


def _way(environment: Environment) -> tuple[list[str], list[str], list[str], list[str]]:
    values = [name for name in NAMES if environment.value_for_file(name)]
    if not values:
        return ([f"az is logged in ({CACHE})"], [], [], []) if environment.exists(CACHE) else ([], [], [], [])
    absent = [name for name in NAMES if name not in values]
    missing = [f"`{name}`, since `{values[0]}` is given" for name in absent]
    takes = [f"give `{name}`" for name in absent]
    secret = environment.value_for_file("azure_client_secret")
    if not secret and not environment.oidc:
        missing.append("`azure_client_secret`, or GitHub's OIDC token")
        takes.append(f"give the secret, or {ALLOW_OIDC}")
    if missing:
        return [], missing, takes, []
    return [f"the service principal {environment.value_for_file(NAMES[0])}"], [], [], [] if secret else [NOTE]
