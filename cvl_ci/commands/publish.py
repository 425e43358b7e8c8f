"""Publish a run's results as outputs, a comment, artifacts and a page: small and important ones first, large ones last.

It begins when the machines are gone. A failure to publish changes no ending: one warning reports it, with the place
of the files. Outputs and comment take no time (a file; a thread), so that no upload delays them.

Four artifacts serve different readers: NAME-cost, NAME-log, NAME with the fetched files, and NAME-checkpoints with
the model weights among them, if there are other files. A report over many runs gathers the cost, `<lease>.json`: all
that `--json-summary` writes (result/summary.py), with null for a missing value, and

    leg                    of the matrix, in words; empty without one
    run_url                of the attempt of the workflow's run
    job                    the name of the workflow's job, as GitHub makes it
    check_run              GitHub's number of that job in that attempt; empty if the runner does not provide it
    first_error            the line in which a job that did not succeed names its error
    last_lines             the last lines that it printed
    artifact_url           the artifact with its whole log, unless that is large
    warnings               the warnings for a person
    is_sweep               true: a sweep tells what a lease left behind; its run may have told its end itself

Of two with the same `cluster`, the one with the later `released.at` counts: post may have proved more than main.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cvl_ci.errors import CvlError
from cvl_ci.inputs.patterns import Pattern, patterns
from cvl_ci.inputs.step_inputs import PublicationInputs
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.ports import Artifacts, NotUploaded, Publication, RunReporter, Uploaded
from cvl_ci.result.checkpoints import is_checkpoint
from cvl_ci.result.no_follow import refuse_links, write_text
from cvl_ci.result.outputs import artifact_outputs, outputs
from cvl_ci.result.report import Link
from cvl_ci.result.sanitize import plain
from cvl_ci.result.summary import to_json
from cvl_ci.result.units import size

COST, LOG, OUTPUTS, CHECKPOINTS = "cost", "log", "outputs", "checkpoints"
KINDS = {
    OUTPUTS: "The fetched files",
    CHECKPOINTS: "The checkpoints",
    LOG: "The log",
    COST: "The cost",
}
"""The order in which a person sees them."""
LEFT_OUT_SHOWN = 5
LARGEST_LOG_FIRST = 16 << 20
"""The most bytes of a failed job's log that goes before the cost, so that the cost can name its artifact."""


@dataclass(frozen=True, kw_only=True)
class WorkflowFacts:
    """The workflow's facts about the run that a report needs. The summary stores them next to the outcome."""

    commit: str = ""
    leg: str = ""
    run_url: str = ""
    job: str = ""
    workflow: str = ""
    check_run: str = ""
    first_error: str = ""
    last_lines: tuple[str, ...] = ()
    is_sweep: bool = False


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files of one run. `folder`: the fetched files. Next to it lie its log and its cost, under the same name.

    `name`: the name of its artifacts. `publication`: the inputs of the action; with a retention of 0 days nothing is
    uploaded. `checkpoints`: globs of the checkpoint artifact; empty: by their names. `uploaded`: the links to main's
    uploads, by kind.
    """

    folder: Path
    name: str
    facts: WorkflowFacts = field(default_factory=WorkflowFacts)
    publication: PublicationInputs = field(default_factory=PublicationInputs)
    checkpoints: tuple[str, ...] = ()
    uploaded: Mapping[str, Link] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def cost(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.json")


@dataclass(frozen=True, kw_only=True)
class PublishPorts:
    """Ports that publishing needs. `uploaded` gets each artifact as soon as the workflow holds it."""

    artifacts: Artifacts
    page: Publication
    reporter: RunReporter
    uploaded: Callable[[str, Link], None] = lambda _, __: None


def publish(outcome: Outcome, *, files: Files, ports: PublishPorts) -> None:
    """Publish. Never raises: the run is over, and its ending is already decided."""
    page, artifacts = ports.page, _Artifacts(files, ports)
    with _warning_on_failure(ports, f"The cost of the run could not be written to {files.cost}"):
        _write_cost(outcome, files)
    with _warning_on_failure(ports, "The outputs for later steps could not be set"):
        page.set_outputs(outputs(outcome))
    with _warning_on_failure(ports, "The comment could not be written"):
        page.comment(outcome, artifacts.links)
    for kind, path in _small_files(outcome, files):
        if kind == COST and (log := artifacts.link(LOG)):
            with _warning_on_failure(ports, f"The cost of the run could not be written again to {files.cost}"):
                _write_cost(outcome, files, artifact_url=log.url)
        with _warning_on_failure(ports, f"{KINDS[kind]} could not be uploaded"):
            artifacts.put(kind, root=path.parent, paths=[path.name] if path.is_file() else [])
    plain_files, checkpoints = list[str](), list[str]()
    with _warning_on_failure(ports, f"The fetched files could not be listed in {files.folder}"):
        plain_files, checkpoints = _fetched(files.folder, files.checkpoints)
    with _warning_on_failure(ports, "The fetched files could not be uploaded"):
        uploaded = artifacts.put(OUTPUTS, root=files.folder, paths=plain_files)
        if uploaded is not None:
            page.set_outputs(artifact_outputs(artifact_id=uploaded.id, url=uploaded.url))
    with _warning_on_failure(ports, "The checkpoints could not be uploaded"):
        artifacts.put(CHECKPOINTS, root=files.folder, paths=checkpoints)
    if artifacts.links:
        with _warning_on_failure(ports, "The artifacts could not be shown on the step's page"):
            page.point_to(artifacts.links)
        with _warning_on_failure(ports, "The comment could not be written"):
            page.comment(outcome, artifacts.links)


def keep_cost(outcome: Outcome, *, files: Files, ports: PublishPorts) -> None:
    """Upload the cost of a run that never started: a report over many runs shows the reason. Never raises."""
    with _warning_on_failure(ports, f"The cost of the run could not be written to {files.cost}"):
        _write_cost(outcome, files)
        _Artifacts(files, ports).put(COST, root=files.cost.parent, paths=[files.cost.name])


def keep_costs(*, folder: Path, files: Files, ports: PublishPorts) -> None:
    """Upload the costs of several runs, which a folder holds, as one artifact. Never raises."""
    with _warning_on_failure(ports, f"The costs of the runs could not be read in {folder}"):
        names = sorted(path.name for path in folder.glob("*.json"))
        _Artifacts(files, ports).put(COST, root=folder, paths=names)


def keep_logs(*, root: Path, paths: Sequence[str], costs: Path, files: Files, ports: PublishPorts) -> None:
    """Upload the logs of several runs as one artifact, and name it in the costs of those that failed. Never raises.

    `paths`: the logs, from `root`. `costs`: the folder with the costs.
    """
    artifacts = _Artifacts(files, ports)
    with _warning_on_failure(ports, f"The logs of the runs could not be uploaded from {root}"):
        artifacts.put(LOG, root=root, paths=paths)
    link = artifacts.link(LOG)
    for cost in costs.glob("*.json") if link is not None else ():
        with _warning_on_failure(ports, f"The cost of the run could not be written again to {cost}"):
            document = json.loads(cost.read_text(encoding="utf-8"))
            if link is not None and document["ending"] != Ending.SUCCEEDED.value:
                write_text(cost, json.dumps({**document, "artifact_url": link.url}, indent=2) + "\n")


def write_cost(outcome: Outcome, files: Files, *, ports: PublishPorts) -> None:
    """Write the cost of a run next to its files. Never raises."""
    with _warning_on_failure(ports, f"The cost of the run could not be written to {files.cost}"):
        _write_cost(outcome, files)


class _Artifacts:
    """Artifacts of this run so far. It reports each reason for a missing artifact once."""

    def __init__(self, files: Files, ports: PublishPorts) -> None:
        self._files, self._ports = files, ports
        self._held = dict(files.uploaded)
        self._said: set[str] = set()

    @property
    def links(self) -> list[Link]:
        return [self._held[kind] for kind in KINDS if kind in self._held]

    def link(self, kind: str) -> Link | None:
        return self._held.get(kind)

    def put(self, kind: str, *, root: Path, paths: Sequence[str]) -> Uploaded | None:
        days = self._files.publication.retention_days
        if kind in self._held or not paths or days == 0:
            return None
        name = self._files.name if kind == OUTPUTS else f"{self._files.name}-{kind}"
        self._ports.reporter.progress(f"uploading the artifact {name}")
        try:
            uploaded = self._ports.artifacts.upload(name, root=root, paths=paths, retention_days=days)
        except Exception as error:  # noqa: BLE001  after any error, the files are still at their place
            self._failed(kind, error, root / paths[0] if kind in (COST, LOG) else root)
            return None
        if isinstance(uploaded, NotUploaded):
            self._report_refusal(uploaded, root)
            return None
        self._held[kind] = link = Link(text=plain(uploaded.name), url=uploaded.url)
        self._ports.uploaded(kind, link)
        self._report_upload(uploaded)
        return uploaded

    def _failed(self, kind: str, error: Exception, place: Path) -> None:
        reason = error.what if isinstance(error, CvlError) else f"{type(error).__name__}: {error}"
        if reason in self._said:
            return
        self._said.add(reason)
        self._ports.reporter.warning(
            f"{KINDS[kind]} could not be uploaded: {reason}\n"
            f"The run's ending does not change. The files are in {place} until this runner is gone.\n"
            f"A later step with `if: always()` can store them: actions/upload-artifact with `path: {place}`."
        )

    def _report_refusal(self, refusal: NotUploaded, root: Path) -> None:
        if refusal.empty or refusal.reason in self._said:
            return
        self._said.add(refusal.reason)
        folder = self._files.folder.parent
        self._ports.reporter.notice(
            f"No artifacts: {refusal.reason}. The files are in {folder} of the workspace, for the steps that follow."
        )

    def _report_upload(self, uploaded: Uploaded) -> None:
        count = f"{uploaded.files} {'file' if uploaded.files == 1 else 'files'}"
        self._ports.reporter.progress(f"the artifact {uploaded.name} holds {count}, {size(uploaded.bytes)}")
        if not uploaded.left_out:
            return
        listing = [f"{path} ({why})" for path, why in uploaded.left_out.items()][:LEFT_OUT_SHOWN]
        hidden_count = len(uploaded.left_out) - len(listing)
        text = ", ".join([*map(plain, listing), *([f"and {hidden_count} more"] if hidden_count else [])])
        self._ports.reporter.notice(f"Left out of the artifact {uploaded.name}: {text}.")


def _fetched(folder: Path, globs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the files below a folder, and the checkpoints apart. `globs`: the checkpoints, instead of their names.

    If there are none, or all files have the names of checkpoints, return the whole folder as one.
    """
    refuse_links(folder)
    paths = [
        Path(parent, name).relative_to(folder).as_posix()
        for parent, folders, names in os.walk(folder)
        for name in (*names, *(folder_name for folder_name in folders if Path(parent, folder_name).is_symlink()))
    ]
    rules = patterns(globs, directory=".")
    checkpoints = sorted(path for path in paths if (_is_chosen(path, rules) if rules else is_checkpoint(path)))
    plain_paths = sorted(set(paths) - set(checkpoints))
    if not checkpoints or not (plain_paths or rules):
        return (["."] if folder.is_dir() else []), []
    return plain_paths, checkpoints


def _is_chosen(path: str, rules: Sequence[Pattern]) -> bool:
    """Return whether the last pattern that matches takes the file."""
    matching = [rule for rule in rules if rule.matches(os.fsencode(path))]
    return bool(matching) and not matching[-1].takes_out


def _small_files(outcome: Outcome, files: Files) -> Sequence[tuple[str, Path]]:
    """Return the cost and the log, in the order of their uploads. A failed job's small log goes first."""
    cost, log = (COST, files.cost), (LOG, files.log)
    with suppress(OSError):
        if outcome.ending is not Ending.SUCCEEDED and files.log.lstat().st_size <= LARGEST_LOG_FIRST:
            return log, cost
    return cost, log


def _write_cost(outcome: Outcome, files: Files, *, artifact_url: str = "") -> None:
    summary = to_json(outcome, commit=files.facts.commit)
    document = {
        **summary,
        **{name: summary.get(name) or value for name, value in vars(files.facts).items()},
        **({"first_error": "", "last_lines": []} if outcome.ending is Ending.SUCCEEDED else {}),
        "artifact_url": "" if outcome.ending is Ending.SUCCEEDED else artifact_url,
        "warnings": list(outcome.warnings),
    }
    write_text(files.cost, json.dumps(document, indent=2) + "\n")


@contextmanager
def _warning_on_failure(ports: PublishPorts, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  a page that cannot be written makes no green run red
        ports.reporter.warning(f"{what} ({type(error).__name__}: {error}). The log of the step has everything.")
