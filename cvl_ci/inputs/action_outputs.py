"""The outputs of the action: action.yml and the documentation's tables are views of these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ActionOutput:
    name: str
    help: str


ACTION_OUTPUTS = (
    ActionOutput(
        name="ending",
        help="How the run ended, such as `succeeded`, `failed` or `never_started`; `skipped` when a fork got "
        "only its plan.",
    ),
    ActionOutput(name="reason", help="The reason, in a sentence."),
    ActionOutput(name="exit_code", help="The exit code of the run."),
    ActionOutput(name="cluster", help="The name of the lease and of its machines."),
    ActionOutput(name="cloud", help="The cloud on which it ran."),
    ActionOutput(name="region", help="The region of that cloud."),
    ActionOutput(name="accelerator", help="The accelerators, such as `L4:1`."),
    ActionOutput(name="spot", help="`true` when the machines were spot."),
    ActionOutput(name="hourly_usd", help="The price of all its machines, in US dollars an hour."),
    ActionOutput(name="cost_usd", help="The measured time at the catalogue's price, in US dollars."),
    ActionOutput(name="estimated_usd", help="The upper limit of the quote, in US dollars."),
    ActionOutput(name="duration_seconds", help="Seconds from the quote to the proof of release."),
    ActionOutput(name="outputs_dir", help="The folder in the workspace with the fetched files."),
    ActionOutput(name="metrics", help="The metrics that the job wrote, as JSON."),
    ActionOutput(
        name="released",
        help="`true` when the provider confirmed that no machine remains; `kept until TIME` for a "
        "kept machine; else `false`.",
    ),
    ActionOutput(name="ssh_command", help="The command that logs in to a kept machine."),
    ActionOutput(name="url", help="`verb: deploy`: the address of the service."),
    ActionOutput(name="expires_at", help="`verb: deploy`: the moment at which the service's machine ends itself."),
    ActionOutput(name="artifact_id", help="The number of the artifact with the fetched files."),
    ActionOutput(name="artifact_url", help="The address of that artifact."),
)

MATRIX_OUTPUTS = (
    ActionOutput(name="matrix", help="`verb: matrix`: JSON, from which `fromJSON` makes `strategy.matrix`."),
    ActionOutput(
        name="expected",
        help="`verb: matrix`: JSON for the input of the same name: the legs, and the dropped ones with reasons.",
    ),
    ActionOutput(
        name="legs",
        help="`verb: matrix`, `report` and `history`: the number of legs. With 0, skip the job of the legs, "
        "and never the report.",
    ),
    ActionOutput(name="dropped", help="`verb: matrix`: the dropped legs with reasons, as JSON."),
    ActionOutput(name="red", help="`verb: report`: the red legs, as JSON."),
    ActionOutput(name="rerun", help="`verb: report`: the legs that are worth another try, as JSON."),
    ActionOutput(name="issue_url", help="`verb: report`: the issue that the report opened, updated or closed."),
)
