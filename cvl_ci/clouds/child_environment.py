"""The environment of the programs that cvl-ci starts: SkyPilot's process, its children, and the clouds' own programs.

Every process of this user can read another one's environment, and a program may print it. So no program gets a token
that it does not need. This is a list of what programs do not get. A list of what they get would break sign-ins: a
kubeconfig's plugin, a proxy or a certificate may need any variable.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cvl_ci.inputs.action_variables import is_input
from cvl_ci.model.container_image import PASSWORD_VARIABLE, USER_VARIABLE
from cvl_ci.model.reuse import SECRET_VARIABLE
from cvl_ci.model.service import TOKEN_VARIABLE

CLOUD_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "KUBECONFIG", "SKYPILOT_", "SKY_", "BOTO_")
_READ_BY_CLOUDS = (*CLOUD_PREFIXES, "LAMBDA_", "RUNPOD_", "NEBIUS_")
_OF_THE_RUNNER = ("ACTIONS_", "STATE_")
"""Prefixes of variables for the action alone: the runner's services with their tokens, and main's state for post.

actions/runner, src/Runner.Worker/Handlers/NodeScriptActionHandler.cs.
"""
_TOKENS = (
    TOKEN_VARIABLE,
    SECRET_VARIABLE,
    USER_VARIABLE,
    PASSWORD_VARIABLE,
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_PAT",
)
"""The token of a service, the secret of shared machines, the login of a registry, and the tokens that GitHub's
command line reads.

cli.github.com/manual/gh_help_environment.
"""
_COMMAND_FILES = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
"""Files that the runner reads as commands of this step."""
_OIDC = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")


def for_programs(
    environ: Mapping[str, str], *, secrets: Collection[str] = (), renews_role: bool = False
) -> dict[str, str]:
    """Return the environment for a program. `secrets`: names of the job's own; a name that a cloud reads stays.

    `renews_role`: AWS keys come from `role_to_assume`. Their program (clouds/aws/worker_role.py) asks GitHub for a new
    token before they expire, also below SkyPilot. No other cloud needs that: Google's library reads address and token
    from its own file, and az asks once.
    """
    removed = {*_TOKENS, *_COMMAND_FILES, *(name for name in secrets if not name.startswith(_READ_BY_CLOUDS))}
    needed = _OIDC if renews_role else ()
    return {
        name: value
        for name, value in environ.items()
        if name in needed or not (name in removed or is_input(name) or name.startswith(_OF_THE_RUNNER))
    }
