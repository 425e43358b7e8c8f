"""Services that run already: their list, the question whether one answers, and its log. It starts and ends nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cvl_ci import wiring
from cvl_ci.cli import deploy_steps
from cvl_ci.errors import EngineError, InputProblem, RequestError
from cvl_ci.inputs import line_parser
from cvl_ci.local.console.streams import Console

if TYPE_CHECKING:
    from cvl_ci.commands.status import OpenLease, OpenService, Overview
    from cvl_ci.ports import Clouds


def is_asked_for(parsed: argparse.Namespace) -> bool:
    """Return whether the line looks at services that run already, and starts none."""
    return bool(parsed.lists or parsed.service_name or parsed.log_name or parsed.follow)


def refuse_mistakes(parsed: argparse.Namespace) -> None:
    """Raise RequestError for options that the verb does not have, and for words that no service needs."""
    mistakes = line_parser.line_mistakes(parsed)
    words = [*parsed.words, *parsed.rest]
    if words and not mistakes:
        mistakes.append(InputProblem(field="command line", value=" ".join(words), problem="is too much"))
    if mistakes:
        raise RequestError(mistakes)


def show(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """List the services, ask one of them whether it answers, or show its log. Raise CvlError."""
    if parsed.follow and not parsed.log_name:
        problem = "works only with --logs NAME"
        raise RequestError([InputProblem(field="--follow", value="true", problem=problem)])
    overview = wiring.status(environ, cloud=parsed.cloud or "")
    services = {lease.name: lease for lease in overview.leases if lease.service}
    name = parsed.log_name or parsed.service_name
    if name and name not in services:
        _require_answers(overview)
    if parsed.log_name:
        return _show_log(_named("--logs", parsed.log_name, services, environ, console), parsed, environ, console)
    if parsed.service_name:
        lease = _named("--status", parsed.service_name, services, environ, console)
        return _ask(lease, overview, environ, console, chain=deploy_steps.chain_of(parsed.tls_cert or ""))
    _say(list(services.values()), overview, console)
    if not services:
        console.say("No service is open, by the records of this computer and the answers of the clouds.")
    _require_answers(overview)
    return 0


def _named(
    field: str, name: str, services: Mapping[str, OpenLease], environ: Mapping[str, str], console: Console
) -> OpenLease:
    """Return the open service of this name. Raise RequestError for another name, and for a service that has ended."""
    from cvl_ci.inputs.suggest import similar
    from cvl_ci.model.lease_name import is_lease

    if name in services:
        return services[name]
    problem = "is not an open service by the records here; give its cloud too, such as --cloud aws"
    near = similar(name, services)
    record = wiring.open_records(environ, console.terminal()).read(name) if is_lease(name) else None
    if record is not None and record.released_at is not None:
        problem, near = "has ended: its machine is gone, with its log", ()
    raise RequestError([InputProblem(field=field, value=name, problem=problem, near=near)])


def _say(leases: list[OpenLease], overview: Overview, console: Console) -> None:
    from cvl_ci.commands import status as overviews

    console.say(*overviews.lease_lines(leases, overview))


def _require_answers(overview: Overview) -> None:
    from cvl_ci.commands import status as overviews

    error = overviews.verdict(overview)
    if error is not None:
        raise error


def _ask(lease: OpenLease, overview: Overview, environ: Mapping[str, str], console: Console, *, chain: str) -> int:
    """Ask the machine itself: its name may still lead to an older one, or nowhere yet. Show its replicas, if any.

    `chain`: the certificates to trust; empty: those of this computer.
    """
    from cvl_ci.commands.deploy import service_log
    from cvl_ci.local.http_services import HttpServices
    from cvl_ci.ports import ServiceRequest

    _say([lease], overview, console)
    _require_answers(overview)
    if replicas := service_log.state(lease, user_id=_user_id(environ), clouds=_clouds(environ)):
        console.say(f"  replicas: {replicas}")
    service = lease.service
    if service is None:
        raise ValueError(f"{lease.name} is not a service")
    console.say(*_dns(service))
    answer = HttpServices().ask(ServiceRequest(url=service.url, address=service.address, chain=chain))
    if answer.status == 401 and answer.is_from_proxy:
        console.say("Its proxy answers, and asks for the token.")
        return 0
    raise EngineError(
        f"The service does not answer as its proxy does: {answer.problem or answer.status}.",
        money="Its machine is billed until its end.",
        next_step=f"Look at its log, or end it: cvl-ci deploy --logs {lease.name}, cvl-ci deploy --down {lease.name}"
        + ("\nFor a certificate of your own, name its file: --tls-cert FILE" if _is_unknown(answer.problem) else ""),
    )


def _dns(service: OpenService) -> list[str]:
    """Return where the name of a service has to lead, and where it leads now; nothing without a name."""
    from cvl_ci.local import dns
    from cvl_ci.result.service_text import dns_line

    lines = dns_line(service.url, service.address)
    if not lines:
        return []
    addresses = dns.addresses_of(urlsplit(service.url).hostname or "")
    elsewhere = [address for address in addresses if address != service.address]
    if elsewhere:
        now = f"Its DNS leads to {', '.join(elsewhere)} now, so its callers may reach another machine."
    else:
        now = "Its DNS leads there." if addresses else "This computer found no address for that name."
    return [*lines, now]


def _user_id(environ: Mapping[str, str]) -> str:
    from cvl_ci.model.owner import Owner

    return Owner(repository=environ.get("GITHUB_REPOSITORY") or str(Path.cwd()), run="logs").user_id


def _clouds(environ: Mapping[str, str]) -> Clouds:
    return wiring.OpenClouds(environ, to_look=True)


def _is_unknown(problem: str) -> bool:
    """Return whether this computer does not trust the certificate of a service."""
    return "CERTIFICATE_VERIFY_FAILED" in problem


def _show_log(lease: OpenLease, parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.commands.deploy import service_log
    from cvl_ci.result.masked_lines import MaskedLines

    masked = MaskedLines(console.masks)
    service_log.show(
        lease,
        user_id=_user_id(environ),
        clouds=_clouds(environ),
        line=lambda text: console.show([masked.hide(text)]),
        is_following=bool(parsed.follow),
    )
    return 0
