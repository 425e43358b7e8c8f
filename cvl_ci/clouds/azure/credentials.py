"""Azure: a service principal, by its secret or by GitHub's OIDC token, logged in with `az`.

SkyPilot knows Azure only through the az program (sky/adaptors/azure.py: AzureCliCredential; sky/clouds/azure.py wants
~/.azure/msal_token_cache.json), so variables alone are not enough. Secrets are given to az as `@FILE`.
"""

from __future__ import annotations

from cvl_ci.clouds.credential_provider import ALLOW_OIDC, Here, Kind, Login, Written, lacking
from cvl_ci.model.access import CloudAccess

AUDIENCE = "api://AzureADTokenExchange"
CACHE = "~/.azure/msal_token_cache.json"
NAMES = ("azure_client_id", "azure_tenant_id", "azure_subscription_id")
TAKES = (
    "in a workflow `azure_client_id`, `azure_tenant_id`, `azure_subscription_id`, and `permissions: id-token: write` "
    "or `azure_client_secret`; in a terminal `az login` and `az account set -s SUBSCRIPTION`"
)
NOTE = "by OIDC, az stays logged in for about an hour, and is logged in anew by post only"


def look(here: Here) -> CloudAccess:
    there, missing, takes, notes = _way(here)
    if not there and not missing:
        missing, takes = ["any credentials"], [TAKES]
    extra = "pip install 'cvl-ci[azure]'"
    gone, how = lacking(here, programs={"az": extra}, modules={"azure.storage.blob": extra, "msgraph": extra})
    return CloudAccess(
        cloud="azure", there=tuple(there), missing=(*missing, *gone), takes=(*takes, *how), notes=tuple(notes)
    )


def write(here: Here) -> Written:
    client, tenant, subscription = map(here.to_write, NAMES)
    secret = here.to_write("azure_client_secret")
    if not (client and tenant and subscription) or not (secret or here.oidc):
        return Written()
    path = here.folder / "azure"
    text = secret or here.id_token(AUDIENCE)
    how = "--password" if secret else "--federated-token"
    who = ("--username", client, "--tenant", tenant)
    return Written(
        files={path: text},
        secrets=(text,),
        logins=(
            Login(
                command=("az", "login", "--service-principal", *who, how, f"@{path}", "--output", "none"),
                leaves=here.at("~/.azure"),
            ),
            Login(command=("az", "account", "set", "--subscription", subscription)),
        ),
    )


AZURE = Kind(cloud="azure", look=look, write=write)


def _way(here: Here) -> tuple[list[str], list[str], list[str], list[str]]:
    given = [name for name in NAMES if here.to_write(name)]
    if not given:
        return ([f"az is logged in ({CACHE})"], [], [], []) if here.exists(CACHE) else ([], [], [], [])
    absent = [name for name in NAMES if name not in given]
    missing = [f"`{name}`, since `{given[0]}` is given" for name in absent]
    takes = [f"give `{name}`" for name in absent]
    secret = here.to_write("azure_client_secret")
    if not secret and not here.oidc:
        missing.append("`azure_client_secret`, or GitHub's OIDC token")
        takes.append(f"give the secret, or {ALLOW_OIDC}")
    if missing:
        return [], missing, takes, []
    return [f"the service principal {here.to_write(NAMES[0])}"], [], [], [] if secret else [NOTE]
