"""Read a queue: jobs with needs, from a file or from Python's own values. Pure. It collects all mistakes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cvl_ci.errors import InputProblem
from cvl_ci.inputs.option import by_own_name
from cvl_ci.inputs.suggest import similar
from cvl_ci.inputs.table import RUN_OPTIONS
from cvl_ci.model.queue import Queue, QueueJob, Retry, RetryCause
from cvl_ci.planning import graph, queue_schema

Result = tuple[Queue | None, list[InputProblem]]
_WORK = ("example", "command", "task")
FILE_ENDS = (".json", ".log")
"""No id ends so: the folder of a job has its id as its name, next to the queue's record and the logs of the jobs."""


def read(document: object, *, overrides: Mapping[str, object] | None = None) -> Result:
    """Return the queue of a document, a mapping with `jobs` or the list of jobs alone, and everything wrong with it.

    `overrides`: inputs of each job that win over its own, such as the options of a command line.
    """
    if isinstance(document, (list, tuple)):
        document = {"jobs": document}
    reader = _Reader()
    if not isinstance(document, Mapping):
        reader.refuse("queue", document, "is neither a mapping with jobs nor a list of jobs")
        return None, reader.mistakes
    reader.unknown_keys("", document, queue_schema.TOP_KEYS)
    defaults = reader.mapping("defaults", document.get("defaults"))
    reader.unknown_keys("defaults.", defaults, queue_schema.RUN_KEYS)
    entries = document.get("jobs")
    if not isinstance(entries, (list, tuple)) or not entries:
        reader.refuse("jobs", "" if entries is None else entries, "is not a list of at least one job")
        return None, reader.mistakes
    if len(entries) > queue_schema.MOST_JOBS:
        reader.refuse("jobs", len(entries), f"are more than {queue_schema.MOST_JOBS}")
        return None, reader.mistakes
    jobs = reader.jobs(entries, defaults=defaults, overrides=overrides or {})
    max_parallel = reader.number("max_parallel", document.get("max_parallel"), least=1, most=100, is_whole=True)
    budget = reader.number("budget", document.get("budget"), least=0, most=1e9, is_whole=False)
    queue = Queue(jobs=jobs, max_parallel=4 if max_parallel is None else int(max_parallel), budget=budget)
    return (None if reader.mistakes else queue), reader.mistakes


class _Reader:
    """The reader of one queue. `mistakes` grows with each value that cannot be meant."""

    def __init__(self) -> None:
        self.mistakes: list[InputProblem] = []

    def refuse(self, field: str, value: object, problem: str, *, near: tuple[str, ...] = ()) -> None:
        self.mistakes.append(InputProblem(field=field, value=str(value), problem=problem, near=near))

    def unknown_keys(self, prefix: str, mapping: Mapping[Any, Any], keys: Mapping[str, object]) -> None:
        for key in mapping:
            if key not in keys:
                self.refuse(f"{prefix}{key}", mapping[key], "is not a key of a queue", near=similar(str(key), keys))

    def mapping(self, field: str, value: object) -> Mapping[str, Any]:
        if value is None:
            return {}
        if isinstance(value, Mapping):
            # YAML 1.1 reads the bare word `on` as true.
            return {"on" if key is True else str(key): inner for key, inner in value.items()}
        self.refuse(field, value, "is not a mapping")
        return {}

    def number(self, field: str, value: object, *, least: float, most: float, is_whole: bool) -> float | None:
        if value is None:
            return None
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        number = float(value) if is_number and isinstance(value, (int, float)) else 0.0
        if number and least <= number <= most and (number == int(number) or not is_whole):
            return number
        kind = "a whole number" if is_whole else "a number"
        self.refuse(field, value, f"is not {kind} from {least or 'above 0'} to {most:g}")
        return None

    def jobs(
        self, entries: Sequence[object], *, defaults: Mapping[str, object], overrides: Mapping[str, object]
    ) -> tuple[QueueJob, ...]:
        ids = [self._id(number, entry) for number, entry in enumerate(entries)]
        for number, name in enumerate(ids):
            if name in ids[:number]:
                self.refuse(f"jobs[{number}].id", name, "is the id of another job too")
        jobs = tuple(
            self._job(f"jobs[{number}]", ids[number], entry, ids, {"defaults": defaults, "overrides": overrides})
            for number, entry in enumerate(entries)
            if isinstance(entry, Mapping)
        )
        ring = graph.cycle({job.id: job.needs for job in jobs})
        if ring:
            self.refuse("needs", " → ".join((*ring, ring[0])), "is a cycle: none of these jobs could begin")
        return jobs

    def _id(self, number: int, entry: object) -> str:
        if not isinstance(entry, Mapping):
            self.refuse(f"jobs[{number}]", entry, "is not a mapping")
            return str(number)
        name = entry.get("id")
        if name is None:
            return str(number)
        if isinstance(name, str) and name.endswith(FILE_ENDS):
            self.refuse(f"jobs[{number}].id", name, "ends like a file of the queue, such as its record queue.json")
            return str(number)
        if not isinstance(name, str) or not re.fullmatch(queue_schema.ID, name):
            self.refuse(f"jobs[{number}].id", name, "is not an id: letters, digits, `_`, `.` and `-`")
            return str(number)
        return name

    def _job(
        self,
        path: str,
        name: str,
        entry: Mapping[Any, Any],
        ids: Sequence[str],
        around: Mapping[str, Mapping[str, object]],
    ) -> QueueJob:
        self.unknown_keys(f"{path}.", entry, {**queue_schema.JOB_KEYS, **queue_schema.RUN_KEYS})
        if entry.get("needs") is not None and entry.get("depends_on") is not None:
            self.refuse(f"{path}.depends_on", entry["depends_on"], "is another name of needs: give one of them")
        needs_key = "depends_on" if entry.get("needs") is None else "needs"
        needs = self._references(f"{path}.{needs_key}", entry.get(needs_key), ids)
        inputs = self.mapping(f"{path}.inputs", entry.get("inputs"))
        self.unknown_keys(f"{path}.inputs.", inputs, {"from": None})
        inputs_from = self._references(f"{path}.inputs.from", inputs.get("from"), ids)
        own = by_own_name({key: entry[key] for key in queue_schema.RUN_KEYS if key in entry}, RUN_OPTIONS)
        base = by_own_name(around["defaults"], RUN_OPTIONS)
        if any(own.get(kind) for kind in _WORK):
            base = {key: value for key, value in base.items() if key not in _WORK}
        return QueueJob(
            id=name,
            request={**base, **own, **around["overrides"]},
            needs=tuple(dict.fromkeys((*needs, *inputs_from))),
            inputs_from=inputs_from,
            retry=self._retry(f"{path}.retry", entry.get("retry")),
            soft_fail=self._flag(f"{path}.soft_fail", entry.get("soft_fail")),
            allow_dependency_failure=self._flag(
                f"{path}.allow_dependency_failure", entry.get("allow_dependency_failure")
            ),
            concurrency_group=self._group(f"{path}.concurrency_group", entry.get("concurrency_group")),
            machine=self._machine(f"{path}.machine", entry.get("machine")),
            clean=self._flag(f"{path}.clean", entry.get("clean")),
            leg=self._leg(f"{path}.leg", entry.get("leg")),
        )

    def _references(self, field: str, value: object, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the ids that ids or numbers name."""
        names = []
        for reference in value if isinstance(value, (list, tuple)) else [] if value is None else [value]:
            if isinstance(reference, str) and reference in ids:
                names.append(reference)
            elif isinstance(reference, int) and not isinstance(reference, bool) and 0 <= reference < len(ids):
                names.append(ids[reference])
            else:
                self.refuse(field, reference, "is not a job of this queue", near=similar(str(reference), ids))
        return tuple(dict.fromkeys(names))

    def _retry(self, field: str, value: object) -> Retry:
        retry = self.mapping(field, value)
        self.unknown_keys(f"{field}.", retry, queue_schema.RETRY_KEYS)
        if not retry:
            return Retry()
        words = retry.get("on", [cause.value for cause in RetryCause])
        causes = []
        for word in words if isinstance(words, list) else [words]:
            try:
                causes.append(RetryCause(word))
            except ValueError:
                words_of_causes = [cause.value for cause in RetryCause]
                self.refuse(
                    f"{field}.on",
                    word,
                    f"is none of {', '.join(words_of_causes)}",
                    near=similar(str(word), words_of_causes),
                )
        limit = self.number(
            f"{field}.limit", retry.get("limit"), least=1, most=queue_schema.MOST_RETRIES, is_whole=True
        )
        return Retry(on=frozenset(causes), limit=1 if limit is None else int(limit))

    def _flag(self, field: str, value: object) -> bool:
        if value is None or isinstance(value, bool):
            return bool(value)
        self.refuse(field, value, "is neither true nor false")
        return False

    def _group(self, field: str, value: object) -> str | None:
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        self.refuse(field, value, "is not a name")
        return None

    def _machine(self, field: str, value: object) -> str | None:
        if value is None or value == queue_schema.OWN_MACHINE:
            return None
        if isinstance(value, str) and re.fullmatch(queue_schema.ID, value):
            return value
        self.refuse(field, value, "is neither `own` nor a key: letters, digits, `_`, `.` and `-`")
        return None

    def _leg(self, field: str, value: object) -> str:
        """Return the name of a leg in one line."""
        if value is None:
            return ""
        if isinstance(value, str) and value.strip() and len(value) <= queue_schema.LONGEST_LEG and value.isprintable():
            return value.strip()
        self.refuse(
            field, value, f"is not the name of a leg: one line of at most {queue_schema.LONGEST_LEG} characters"
        )
        return ""
