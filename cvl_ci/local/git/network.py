"""The variables of a user that git needs to reach a remote: proxies, certificates and ssh."""

from __future__ import annotations

from collections.abc import Mapping

_EITHER_CASE = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_NAMES = frozenset(
    {
        *_EITHER_CASE,
        *(name.upper() for name in _EITHER_CASE),
        # A company's own certificates: git's (http.c), curl's and OpenSSL's names for them.
        *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        # How ssh signs in. HOME is where ssh, curl (.netrc) and a credential store look.
        *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "HOME"),
    }
)


def network_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that a git command for a remote gets."""
    return {name: value for name, value in environ.items() if name in _NAMES and value}
