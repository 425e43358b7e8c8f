"""What GitHub itself says of its REST API: a request of ours and an answer of our fake are held to it, word by word.

rest.json holds the operations below; script/openapi cuts it from the official description.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

FILE = Path(__file__).with_name("rest.json")
OPERATIONS = (
    "GET /user",
    "GET /repos/{owner}/{repo}/issues/{issue_number}/comments",
    "POST /repos/{owner}/{repo}/issues/{issue_number}/comments",
    "PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}",
    "DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}",
    "GET /repos/{owner}/{repo}/commits/{commit_sha}/pulls",
    "GET /repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{attempt_number}",
    "GET /repos/{owner}/{repo}/actions/runs/{run_id}",
    "GET /repos/{owner}/{repo}/actions/runs/{run_id}/artifacts",
    "GET /repos/{owner}/{repo}/actions/runs/{run_id}/jobs",
    "GET /repos/{owner}/{repo}/actions/artifacts",
    "POST /repos/{owner}/{repo}/statuses/{sha}",
    "GET /repos/{owner}/{repo}/actions/artifacts/{artifact_id}/{archive_format}",
    "GET /repos/{owner}/{repo}/actions/workflows/{workflow_id}/runs",
    "GET /repos/{owner}/{repo}/commits",
    "GET /repos/{owner}/{repo}/issues",
    "POST /repos/{owner}/{repo}/issues",
    "PATCH /repos/{owner}/{repo}/issues/{issue_number}",
    "GET /repos/{owner}/{repo}/pulls/{pull_number}",
    "GET /repos/{owner}/{repo}/deployments",
    "POST /repos/{owner}/{repo}/deployments",
    "GET /repos/{owner}/{repo}/deployments/{deployment_id}/statuses",
    "POST /repos/{owner}/{repo}/deployments/{deployment_id}/statuses",
)
ANY_ERROR = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
"""What is described nowhere, since any operation may end so: no right, no luck, too often."""


@functools.cache
def description() -> Any:
    return json.loads(FILE.read_text(encoding="utf-8"))


def example(operation: str) -> Any:
    """An answer as GitHub's description shows it."""
    return json.loads(json.dumps(description()["operations"][operation]["example"]))


def wrong_request(method: str, url: str, body: str | bytes | None) -> Iterator[str]:
    """`url` begins with the path. What GitHub would not have understood, in words."""
    parts = urlsplit(url)
    name = operation(method, parts.path)
    if name is None:
        yield f"{method} {parts.path} is in no description; add it to OPERATIONS and run script/openapi, if it exists"
        return
    parameters = description()["operations"][name].get("parameters", [])
    yield from _not_as(parameters, "path", _in_path(name, parts.path), name)
    yield from _not_as(parameters, "query", dict(parse_qsl(parts.query, keep_blank_values=True)), name)
    yield from _not_a_body(name, body)


def wrong_answer(method: str, url: str, status: int, body: str) -> Iterator[str]:
    name = operation(method, urlsplit(url).path)
    if name is None:
        return
    described = description()["operations"][name]["responses"].get(str(status))
    if described is None and status < 400:
        yield f"{name} never answers {status}"
    elif described is not None and "content" not in described:
        if body:
            yield f"{name} {status} answers with a body, which should be empty"
    else:
        schema = _json_schema(described) if described else ANY_ERROR
        yield from _errors(f"{name} {status}", schema, _parsed(body))


def operation(method: str, path: str) -> str | None:
    return next((name for name in description()["operations"] if _matches(name, f"{method} {path}")), None)


# ---- a request -------------------------------------------------------------------------------------------------------


def _pattern(name: str) -> str:
    return re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(name))


def _matches(name: str, asked: str) -> re.Match[str] | None:
    return re.fullmatch(_pattern(name), asked)


def _in_path(name: str, path: str) -> dict[str, str]:
    result = _matches(name, f"{name.partition(' ')[0]} {path}")
    return result.groupdict() if result else {}


def _not_as(parameters: list[Any], where: str, given: Mapping[str, str], name: str) -> Iterator[str]:
    known = {one["name"]: one for one in parameters if one["in"] == where}
    for key in given.keys() - known.keys():
        yield f"{name} takes no {where} parameter {key}"
    for key, one in known.items():
        if key in given:
            yield from _errors(f"{name}: {key}", one["schema"], _typed(given[key], one["schema"]))
        elif one.get("required"):
            yield f"{name} needs the {where} parameter {key}"


def _typed(text: str, schema: Any) -> object:
    """What a word of a URL stands for, where it is one of that kind."""
    if schema.get("type") == "integer" and text.lstrip("-").isdecimal():
        return int(text)
    if schema.get("type") == "boolean" and text in {"true", "false"}:
        return text == "true"
    return text


def _not_a_body(name: str, body: str | bytes | None) -> Iterator[str]:
    request = description()["operations"][name].get("requestBody")
    if request is None:
        if body:
            yield f"{name} takes no body"
        return
    schema, sent = _json_schema(request), _parsed(body)
    yield from _errors(f"{name}: body", schema, sent)
    for key in (sent.keys() if isinstance(sent, dict) else set()) - schema.get("properties", {}).keys():
        yield f"{name}: body: no property {key} is described"


def _json_schema(described: Any) -> Any:
    return described["content"]["application/json"]["schema"]


def _parsed(body: str | bytes | None) -> Any:
    try:
        return json.loads(body or "null")
    except ValueError:
        return None


def _errors(where: str, schema: Any, value: Any) -> Iterator[str]:
    from openapi_schema_validator import OAS30Validator, oas30_format_checker

    for error in OAS30Validator(schema, format_checker=oas30_format_checker).iter_errors(value):
        yield f"{where}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"


# ---- how rest.json is cut --------------------------------------------------------------------------------------------


def cut(package: str, whole: Any) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for name in OPERATIONS:
        method, path = name.split(" ")
        result = whole["paths"][path][method.lower()]
        kept = {key: result[key] for key in ("parameters", "requestBody", "responses") if key in result}
        text = _example(whole, result["responses"])
        kept = _inlined(whole, kept)
        _say_limits(kept.get("parameters", []))
        operations[name] = {**_bare(kept), **({"example": text} if text else {})}
    # A fork that was deleted since: GitHub says null there, though its description does not know it.
    pulls = _json_schema(operations["GET /repos/{owner}/{repo}/commits/{commit_sha}/pulls"]["responses"]["200"])
    pulls["items"]["properties"]["head"]["properties"]["repo"]["nullable"] = True
    return {"from": package, "operations": operations}


def _say_limits(parameters: list[Any]) -> None:
    """That a page holds 100 at most is said in prose alone."""
    for one in parameters:
        result = re.search(r"\(max (\d+)\)", one.get("description", ""))
        if result:
            one["schema"] = {**one["schema"], "maximum": int(result[1])}


def _example(whole: Any, responses: Any) -> Any:
    content: Any = next((one.get("content", {}) for status, one in responses.items() if status.startswith("2")), {})
    result = content.get("application/json", {}).get("examples", {})
    return next((_inlined(whole, one)["value"] for one in result.values()), None)


def _inlined(whole: Any, node: Any) -> Any:
    if isinstance(node, dict) and "$ref" in node:
        result = whole
        for part in node["$ref"].removeprefix("#/").split("/"):
            result = result[part.replace("~1", "/").replace("~0", "~")]
        return _inlined(whole, result)
    if isinstance(node, dict):
        return {key: _inlined(whole, inner) for key, inner in node.items()}
    return [_inlined(whole, inner) for inner in node] if isinstance(node, list) else node


def _bare(node: Any, *, names: bool = False) -> Any:
    """Without prose, and without what points at what is not here. `names`: its keys are those of properties, which may
    be called `description` too.
    """
    prose = set() if names else {"description", "discriminator", "example", "examples", "title"}
    if isinstance(node, dict):
        kept = {key: inner for key, inner in node.items() if key not in prose}
        return {key: _bare(inner, names=key == "properties" and not names) for key, inner in kept.items()}
    return [_bare(inner) for inner in node] if isinstance(node, list) else node


if __name__ == "__main__":
    made = cut(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    lines = (f"  {json.dumps(name)}: {json.dumps(one, sort_keys=True)}" for name, one in made["operations"].items())
    head = f'{{\n "from": {json.dumps(made["from"])},\n "operations": {{\n'
    FILE.write_text(head + ",\n".join(lines) + "\n }\n}\n", encoding="utf-8")
