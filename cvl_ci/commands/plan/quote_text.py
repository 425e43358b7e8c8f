"""Show a quote: as text for a person, as JSON for programs, and as the first line of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cvl_ci.commands.plan import bounds, month, mount_lines, replicas
from cvl_ci.commands.plan.quote import machine, machines, offers_of
from cvl_ci.model.checkpoint_plan import Resume
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.offer import Offer, Quote
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import Spot
from cvl_ci.model.reuse import IfBusy
from cvl_ci.model.service import WORLD
from cvl_ci.ports import Prices
from cvl_ci.result.units import dollars, duration, size

SHOWN_OFFERS = 8
HOURLY_FIGURES = ("hourly_usd", "disk_and_address_hourly_usd", "total_hourly_usd", "dearest_hourly_usd")
"""The figures of an hour in JSON. The first three are of the first offer. The last is the sum of the dearest one."""


def as_json(plan: RunPlan, quote: Quote) -> str:
    """Return the quote for programs: always these keys and no others."""
    return json.dumps(
        {
            "example": plan.work.example,
            "preset": plan.work.preset,
            "accelerators": dict(plan.machines.needs.accelerators),
            "num_nodes": plan.machines.num_nodes,
            "commands": list(plan.work.commands),
            "image": plan.work.image,
            "files": [{"path": file.path, "bytes": file.bytes} for file in plan.files.staged],
            "not_sent": plan.files.not_sent,
            "mounts": mount_lines.as_json(plan),
            "offers": [_offer(offer) for offer in quote.offers],
            **_hourly(plan, quote),
            "first_usd": _rounded(quote.first_usd),
            "dearest_usd": _rounded(quote.dearest_usd),
            "max_cost_usd": plan.limits.max_cost_usd,
            "max_usd": _rounded(quote.max_usd),
            "monthly_budget": month.as_json(plan),
            "catalogue": quote.catalogue_date,
            "max_runtime_minutes": plan.limits.max_runtime_minutes,
            "warnings": [*plan.warnings, *quote.warnings],
        },
        indent=2,
        ensure_ascii=False,
    )


def _hourly(plan: RunPlan, quote: Quote) -> dict[str, float | None]:
    """Return the price of an hour for all nodes: of the machines alone, of their disks and addresses, and the sums."""
    if not quote.offers or quote.hourly_usd is None:
        return dict.fromkeys(HOURLY_FIGURES)
    first, dearest = quote.offers[0], bounds.most_expensive(plan, quote.offers)
    total_usd = bounds.hourly_usd(plan, first)
    sums = (quote.hourly_usd, total_usd - quote.hourly_usd, total_usd, bounds.most_hourly_usd(plan, dearest))
    return {name: round(usd, 6) for name, usd in zip(HOURLY_FIGURES, sums, strict=True)}


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 4)


def as_text(plan: RunPlan, quote: Quote, prices: Prices) -> str:
    """Return the quote for a person, in plain text."""
    parts = [plan.title, _facts(plan)]
    if quote.offers:
        parts += [_table(plan, quote.offers), _cost(plan, quote, prices)]
    parts += ["\n".join(replicas.lines(plan, quote, prices))]
    parts += ["\n".join(f"warning: {text}" for text in (*plan.warnings, *quote.warnings))]
    return "\n\n".join(part for part in parts if part)


def in_one_line(plan: RunPlan, quote: Quote) -> str:
    """Return the plan and its possible cost, as the first line of a run."""
    if not quote.offers or quote.hourly_usd is None or quote.max_usd is None:
        return f"{plan.title}: {machine(plan.machines.needs)}, price unknown"
    offer = quote.offers[0]
    spot = " spot" if offer.spot else ""
    billed = "" if offer.cloud != SANDBOX else " at AWS's price; the sandbox bills nothing"
    return (
        f"{plan.title}: {machines(plan, offer)}{spot} on {offer.cloud}/{offer.region}, "
        f"{dollars(bounds.hourly_usd(plan, offer))} an hour, at most {dollars(quote.max_usd)}{billed}{_failover(quote)}"
    )


def _failover(quote: Quote) -> str:
    """Return the figure of the first offer, where a failover may cost more than it."""
    if quote.first_usd is None or quote.max_usd is None or quote.first_usd >= quote.max_usd:
        return ""
    return f" (the first offer: {dollars(quote.first_usd)})"


def _offer(offer: Offer) -> dict[str, object]:
    return {
        "cloud": offer.cloud,
        "region": offer.region,
        "instance_type": offer.instance_type,
        "accelerators": dict(offer.accelerators),
        "spot": offer.spot,
        "hourly_usd": offer.hourly_usd,
    }


def _facts(plan: RunPlan) -> str:
    total = sum(file.bytes for file in plan.files.staged)
    count = len(plan.files.staged)
    limits = [f"{duration(plan.limits.max_runtime_minutes * 60)} on the machine"]
    if plan.limits.max_cost_usd is not None:
        limits.append(f"{dollars(plan.limits.max_cost_usd)} in all")
    if (idle := plan.limits.idle) is not None:
        limits.append(f"{duration(idle.seconds)} with each GPU below {idle.min_percent} %")
    if plan.limits.keep_minutes:
        after = "after the job" if plan.limits.keeps_after_success else "if the job fails"
        limits.append(f"kept {duration(plan.limits.keep_minutes * 60)} {after}")
    if plan.machines.reuse is not None:
        limits.append(f"its machine at most {duration(plan.machines.reuse.max_age_minutes * 60)} old")
    places_text = ", then ".join(map(str, plan.machines.locations)) or "any cloud, the cheapest first"
    has_own_locations = any(one.location for one in plan.machines.needs.alternatives)
    rows = [
        ("setup", "\n".join(plan.work.setup_commands)),
        ("run", "\n".join(plan.work.run_commands)),
        ("in", "" if plan.work.directory == "." else plan.work.directory),
        ("image", plan.work.image or ""),
        ("needs", machine(plan.machines.needs)),
        ("nodes", str(plan.machines.num_nodes) if plan.machines.num_nodes > 1 else ""),
        ("trials", _trials_line(plan)),
        ("where", "" if has_own_locations else places_text),
        ("files", f"{count} file{'' if count == 1 else 's'}, {size(total)}"),
        ("not sent", plan.files.not_sent),
        ("mounts", "\n".join(mount_lines.lines(plan))),
        ("models", _models(plan)),
        ("saves", _checkpoints(plan)),
        ("detached", _detached(plan)),
        ("service", "\n".join(_service(plan))),
        ("env", ", ".join(f"{name}={value}" for name, value in plan.variables.env.items())),
        ("secrets", ", ".join(plan.variables.secrets)),
        ("limits", ", ".join(limits)),
        ("reuse", _reuse(plan)),
    ]
    under = "\n" + " " * 11
    return "\n".join(f"  {name:<8} {under.join(text.splitlines())}" for name, text in rows if text)


def _reuse(plan: RunPlan) -> str:
    reuse = plan.machines.reuse
    if reuse is None:
        return ""
    busy = "waits for it" if reuse.if_busy is IfBusy.WAIT else "takes a new one"
    place = "on this computer" if reuse.secret is None else "at the provider"
    return f"the machine of key {reuse.key}, if one waits {place}; while it is in use, this run {busy}"


def _service(plan: RunPlan) -> list[str]:
    service = plan.service
    if service is None:
        return []
    if service.replicas is not None:
        return replicas.facts(service, longest_minutes=plan.limits.longest_minutes)
    networks = "any address" if service.allow == WORLD else ", ".join(service.allow)
    return [
        f"{service.kind.value} on port {service.port}",
        f"port {service.public_port} is open for {networks}, with the token",
        *([f"HTTPS with your certificate, as {service.domain or 'its address'}"] if service.tls else []),
        *service.sources,
        f"ready within {duration(service.probe.initial_delay_seconds)}",
        f"its machine ends itself {duration(service.ttl_minutes * 60)} after its first answer",
    ]


def _models(plan: RunPlan) -> str:
    if plan.models.cache is None:
        return ""
    names = ", ".join(map(str, plan.models.names)) or "those of the last run of this work"
    return f"{names}; from {plan.models.cache}"


def _checkpoints(plan: RunPlan) -> str:
    one = plan.checkpoints
    if not one.is_stored:
        return ""
    resume = {Resume.RUN: "goes on after a loss", Resume.LATEST: "goes on from the latest run"}.get(one.resume, "")
    place = "this computer" if one.on_runner else one.place
    saving = f"{', '.join(one.globs)} to {place} every {duration(one.every_seconds)}, the newest {one.keep}"
    return ", ".join(filter(None, [saving, resume]))


def _detached(plan: RunPlan) -> str:
    if plan.detach.place is None:
        return ""
    if plan.detach.is_managed:
        return f"a managed job of an API server; results go to {plan.detach.place}, for `cvl-ci collect NAME`"
    return f"its results go to {plan.detach.place}, and its machine ends itself; fetch them by `cvl-ci collect NAME`"


def _trials_line(plan: RunPlan) -> str:
    if plan.trials.base is None:
        return f"{plan.trials.repeat} on one machine" if plan.trials.repeat > 1 else ""
    return f"{plan.trials.repeat} of each, next to {plan.trials.base.ref} ({plan.trials.base.commit[:12]})"


def _table(plan: RunPlan, offers: Sequence[Offer]) -> str:
    rows = [("$/hour", "machine", "where", "", "has")]
    for offer in offers[:SHOWN_OFFERS]:
        gpus = [f"{count} × {name}" for name, count in offer.accelerators.items()]
        has = ", ".join([*gpus, f"{offer.vcpus:g} vCPUs", f"{offer.memory_gib:g} GiB"])
        nodes = f"{plan.machines.num_nodes} × " if plan.machines.num_nodes > 1 else ""
        hourly = f"{offer.hourly_usd * plan.machines.num_nodes:.3f}"
        place = f"{offer.cloud}/{offer.region}"
        rows.append((hourly, nodes + offer.instance_type, place, "spot" if offer.spot else "on-demand", has))
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    lines = [
        "  ".join([f"  {row[0]:>{widths[0]}}", *(f"{row[at]:<{widths[at]}}" for at in (1, 2, 3)), row[4]]).rstrip()
        for row in rows
    ]
    hidden_count = len(offers) - SHOWN_OFFERS
    return "\n".join([*lines, *([f"  and {hidden_count} more"] if hidden_count > 0 else [])])


def _cost(plan: RunPlan, quote: Quote, prices: Prices) -> str:
    """Return the three figures by their names, and the source of the prices."""
    if quote.first_usd is None or quote.dearest_usd is None:
        return ""
    first, dearest = quote.offers[0], bounds.most_expensive(plan, quote.offers)
    billed = "" if first.cloud != SANDBOX else " if it were AWS; the sandbox bills nothing"
    after = "after the job" if plan.limits.keeps_after_success else "when the job fails"
    keep_text = f", and kept {after}" if plan.limits.keep_minutes else ""
    time = duration((plan.limits.longest_minutes + plan.limits.keep_minutes) * 60)
    first_text = _figure(plan, first, hourly=bounds.hourly_usd(plan, first), usd=quote.first_usd)
    dearest_text = _figure(plan, dearest, hourly=bounds.most_hourly_usd(plan, dearest), usd=quote.dearest_usd)
    lines = [
        f"  First offer: {first_text}{billed}.",
        f"  Dearest that it may reach: {dearest_text}{billed}.",
        *([f"  max_cost: {_capped(plan, quote)}."] if plan.limits.max_cost_usd is not None else []),
        *([f"  monthly_budget: {month.describe(plan.limits.month)}."] if plan.limits.month else []),
        f"  In {time} with boot and release, disk and address{keep_text}.",
        *_other_price(plan, quote, prices),
        f"  Prices: {quote.catalogue_date}.",
    ]
    return "\n".join(lines)


def _figure(plan: RunPlan, offer: Offer, *, hourly: float, usd: float) -> str:
    spot = " spot" if offer.spot else ""
    place = f"{machines(plan, offer)}{spot}, {offer.cloud}/{offer.region}"
    return f"{dollars(hourly)} an hour ({place}), at most {dollars(usd)}"


def _capped(plan: RunPlan, quote: Quote) -> str:
    limit = plan.limits.max_cost_usd or 0.0
    if quote.dearest_usd is not None and quote.dearest_usd <= limit:
        return f"{dollars(limit)}, which no offer reaches"
    if quote.first_usd is not None and quote.first_usd <= limit:
        return f"{dollars(limit)}, which ends it sooner on a dearer offer"
    return f"{dollars(limit)}, which ends it sooner"


def _other_price(plan: RunPlan, quote: Quote, prices: Prices) -> list[str]:
    """Return what spot would save, or what a fallback from spot would cost."""
    if plan.machines.needs.alternatives:
        # Each of them has its own use of spot.
        return []
    first = quote.offers[0]
    other = Spot.NEVER if first.spot else Spot.ALWAYS
    offers = offers_of(plan, prices, spot=other)
    if not offers or quote.hourly_usd is None:
        return []
    hourly = bounds.hourly_usd(plan, offers[0])
    kind = "On-demand" if first.spot else "On spot"
    return [
        f"  {kind} from {dollars(hourly)} an hour ({offers[0].instance_type}, {offers[0].cloud}/{offers[0].region})."
    ]
