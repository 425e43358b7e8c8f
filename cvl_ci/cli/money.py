"""The verbs about money: `prices` lists offers or fetches the catalogue, `cost` sums runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvl_ci import wiring
from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.inputs import accelerators, table, verb_options
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.price_inputs import UPDATE
from cvl_ci.local.console.streams import Console

if TYPE_CHECKING:
    from cvl_ci.clouds.catalogue.prices import CataloguePrices
    from cvl_ci.commands.prices import PriceRequest


def prices(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """Show every offer for a GPU, or fetch the catalogue. Raise RequestError with near names for a mistyped GPU."""
    from cvl_ci.commands import prices as price_list

    values = verb_options.read(parsed, table.verb_options("prices"))
    words: Sequence[str] = values.get("gpu_words", ())
    if words[:1] == (UPDATE,):
        return _update(words[1:], values, environ, console)
    catalogue = wiring.prices(environ, folder=str(values.get("catalogue") or ""))
    request = _request(words, values, catalogue)
    rows = price_list.offers(request, catalogue)
    if not rows:
        raise _no_offer(request, catalogue)
    console.say(price_list.as_json(rows, catalogue) if parsed.json else price_list.as_text(rows, catalogue))
    return 0


def cost(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """Show what the runs of the history branch, or of the named folders, have cost."""
    from cvl_ci.inputs.verb_inputs import of_matrix_verb
    from cvl_ci.local import run_files
    from cvl_ci.result.matrix import spend
    from cvl_ci.wiring import matrix

    values = verb_options.read(parsed, table.verb_options("cost"))
    since = str(values.get("since", "30d"))
    caller = matrix.MatrixCaller(
        folder=Path.cwd(), prices=wiring.prices(environ), say=console.say, tell=console.tell, environ=environ
    )
    if values.get("folders"):
        legs, troubles = run_files.gather(values["folders"], field="FOLDER")
        for trouble in troubles:
            console.tell(trouble)
    else:
        legs = matrix.kept_in_branch(of_matrix_verb(values), caller).read()
    beginning = _beginning(since)
    total = spend.spend(legs, since=beginning.timestamp())
    lines = spend.as_text(total, since=beginning.strftime("%Y-%m-%d"))
    console.say(*([spend.as_json(total)] if parsed.json else lines))
    return 0


def _beginning(since: str) -> datetime:
    if since.endswith("d"):
        return datetime.now(tz=timezone.utc) - timedelta(days=int(since.removesuffix("d")))
    return datetime.fromisoformat(since).replace(tzinfo=timezone.utc)


def _request(words: Sequence[str], values: Mapping[str, Any], catalogue: CataloguePrices) -> PriceRequest:
    from cvl_ci.commands.prices import PriceRequest
    from cvl_ci.model.gpu_memory import GPU_MEMORY
    from cvl_ci.model.resource_request import Spot

    if not words:
        raise RequestError(
            [InputProblem(field="GPU", value="", problem="is missing: name one, such as H100:8 or none")]
        )
    try:
        gpus = accelerators.canonical(accelerators.read(",".join(words)), catalogue.accelerators())
    except Wrong as wrong:
        raise RequestError(
            [InputProblem(field="GPU", value=" ".join(words), problem=wrong.problem, near=wrong.near)]
        ) from None
    memory_gb = {name: gigabytes for name, (_, gigabytes) in GPU_MEMORY.items()}
    spot = {None: None, Spot.ALWAYS: True, Spot.NEVER: False, Spot.FALLBACK: None}[values.get("spot")]
    return PriceRequest(accelerators=gpus, locations=values.get("cloud", ()), spot=spot, memory_gb=memory_gb)


def _no_offer(request: PriceRequest, catalogue: CataloguePrices) -> RequestError:
    """Return the mistake, with the counts and clouds for which there is a price."""
    from cvl_ci.commands.plan.quote import machine
    from cvl_ci.commands.prices import counts_with_price
    from cvl_ci.model.resource_request import ResourceRequest

    locations = ", ".join(map(str, request.locations)) or "any cloud"
    named = ", ".join(f"{name}:{count:g}" for name, count in request.accelerators.items()) or machine(ResourceRequest())
    problem = f"has no price on {locations}"
    if alternatives := counts_with_price(request, catalogue):
        problem += f" ({alternatives})"
    return RequestError([InputProblem(field="GPU", value=named, problem=problem)])


def _update(words: Sequence[str], values: Mapping[str, Any], environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.clouds.catalogue import update
    from cvl_ci.clouds.catalogue.prices import CataloguePrices
    from cvl_ci.inputs.suggest import similar, with_names

    clouds = CataloguePrices().clouds()
    unknown = [word for word in words if word not in clouds]
    if unknown:
        mistakes = []
        for word in unknown:
            near = similar(word, clouds)
            problem = with_names("has no catalogue", clouds, near)
            mistakes.append(InputProblem(field="CLOUD", value=word, problem=problem, near=near))
        raise RequestError(mistakes, next_step="Without a name, `cvl-ci prices update` fetches every catalogue.")
    folder = Path(values.get("catalogue") or environ.get("CVL_CI_CATALOGUE") or wiring.skypilot_catalogue(environ))
    today = datetime.now(tz=timezone.utc).date()
    server = environ.get("CVL_CI_CATALOGUE_URL", "").rstrip("/")
    addresses = update.Addresses(raw=server, mirror=server, commits=f"{server}/commits") if server else None
    fetched = update.update(folder, words or clouds, today=today, addresses=addresses)
    for one in fetched:
        of = f" of {one.day}" + (f", commit {one.commit[:7]}" if one.commit else "")
        console.say(f"{one.cloud}: {one.error}" if one.error else f"{one.cloud}: {one.machines} machine types{of}")
    failed = [one.cloud for one in fetched if one.error]
    if failed:
        raise CvlError(
            f"The catalogue of {', '.join(failed)} could not be fetched. {folder} keeps the files that it had.",
            next_step="Try again where the network allows it. Until then, the prices that are there stay in use.",
        )
    console.tell(f"The catalogue is in {folder}.")
    return 0
