"""Find the one task among the YAML documents of a task file. Pure."""

from __future__ import annotations

from typing import Any

from cvl_ci.planning import safe_yaml


def one_task(content: bytes) -> dict[str, Any]:
    """Return the one task. Raise safe_yaml.Unreadable if there is none, or several.

    A document before it that only names it is SkyPilot's header of a pipeline."""
    documents = [one for one in safe_yaml.load_all(content) if one is not None]
    if not documents:
        raise safe_yaml.Unreadable("has no task in it")
    first, *rest = documents
    header = isinstance(first, dict) and set(first) in ({"name"}, {"name", "execution"}) and bool(rest)
    if header and isinstance(first, dict) and first.get("execution") == "parallel":
        raise safe_yaml.Unreadable(f"is a group of {len(rest)} jobs side by side: a run is one task")
    tasks = rest if header else list(documents)
    if len(tasks) > 1:
        raise safe_yaml.Unreadable(f"is a pipeline of {len(tasks)} tasks, one after the other: a run is one task")
    if not isinstance(tasks[0], dict):
        raise safe_yaml.Unreadable("is not a mapping of keys to values")
    name = {"name": first["name"]} if header and isinstance(first, dict) else {}
    return {**name, **tasks[0]}
