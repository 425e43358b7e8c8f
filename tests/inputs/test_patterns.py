"""Which files the globs of `outputs` mean: a table for people, and upload-artifact's own library as an oracle."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from cvl_ci.inputs import parsers
from cvl_ci.inputs import patterns as globs
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.patterns import Pattern, patterns, unclosed
from tests.peers import node
from tests.support.cases import generated

TREE = (
    "metrics.json", "dist/top.js", "dist/a/b.js", "dist/.hidden", "out/x.pt", "out/deep/y.pt", "out/deep/z.tmp",
    "a.txt", "b.txt", "é.txt", "ex/out/m.json", "ex/notes.md", "{a,b}.txt", "[x].txt", "a b/c d.txt", "dist.js", "outx",
    "x\ny.txt",
)  # fmt: skip


def taken(list_of: Sequence[str], paths: Sequence[str], *, directory: str = ".") -> set[str]:
    result = patterns(list_of, directory=directory)
    return {path for path in paths if is_taken(result, path)}


def is_taken(found: Sequence[Pattern], path: str) -> bool:
    """As collect.sh folds them: the last that matches decides."""
    last = [pattern for pattern in found if pattern.matches(path.encode())]
    return not found or (bool(last) and not last[-1].takes_out)


@pytest.mark.parametrize(
    ("list_of", "expected"),
    [
        (["**/*.json"], {"metrics.json", "ex/out/m.json"}),
        (["dist/**/*"], {"dist/top.js", "dist/a/b.js", "dist/.hidden"}),
        (["dist/**"], {"dist/top.js", "dist/a/b.js", "dist/.hidden"}),
        (["dist"], {"dist/top.js", "dist/a/b.js", "dist/.hidden"}),
        (["dist/"], {"dist/top.js", "dist/a/b.js", "dist/.hidden"}),
        (["dist/*"], {"dist/top.js", "dist/.hidden", "dist/a/b.js"}),
        (["dist/*.js"], {"dist/top.js"}),
        (["./dist/**/*.js"], {"dist/top.js", "dist/a/b.js"}),
        (["*.pt"], {"out/x.pt", "out/deep/y.pt"}),
        (["./*.txt", "!b.txt"], {"a.txt", "é.txt", "{a,b}.txt", "[x].txt", "x\ny.txt"}),
        (["out/**", "!out/deep/**"], {"out/x.pt"}),
        (["out/**", "!out/deep/**", "out/deep/y.pt"], {"out/x.pt", "out/deep/y.pt"}),
        (["out/**/*.{pt,json}"], {"out/x.pt", "out/deep/y.pt"}),
        (["{dist,out}/*.{js,pt}"], {"dist/top.js", "out/x.pt"}),
        (["./?.txt"], {"a.txt", "b.txt", "é.txt"}),
        (["./[ab].txt"], {"a.txt", "b.txt"}),
        (["./[!a].txt"], {"b.txt", "é.txt"}),
        (["./[a-b].txt"], {"a.txt", "b.txt"}),
        (["./[é].txt"], {"é.txt"}),
        (["[[]x].txt"], {"[x].txt"}),
        (["a b/c d.txt"], {"a b/c d.txt"}),
        (["!out", "!ex"], set(TREE) - {"out/x.pt", "out/deep/y.pt", "out/deep/z.tmp", "ex/out/m.json", "ex/notes.md"}),
        (["nothing/**"], set()),
        (["**"], set(TREE)),
        (["x?y.txt"], {"x\ny.txt"}),
    ],
)
def test_a_pattern_means_what_ci_users_know(list_of: list[str], expected: set[str]) -> None:
    if list_of == ["!out", "!ex"]:  # without a slash it holds at any depth
        expected = expected - {"ex/out/m.json"}
    assert taken(list_of, TREE) == expected


@pytest.mark.parametrize(
    ("list_of", "expected"),
    [
        (["out/*.json"], {"ex/out/m.json"}),
        (["ex/out/**"], {"ex/out/m.json"}),
        (["out/**"], {"ex/out/m.json", "out/x.pt", "out/deep/y.pt", "out/deep/z.tmp"}),
    ],
)
def test_patterns_hold_in_the_working_directory_and_from_the_root(list_of: list[str], expected: set[str]) -> None:
    assert taken(list_of, TREE, directory="ex") == expected


def test_no_pattern_is_every_file() -> None:
    assert patterns([], directory=".") == ()
    assert taken(["", "./"], ["a"]) == {"a"}


def test_only_what_is_named_without_a_glob_is_named_outright() -> None:
    named = ["m.pt", "out/m.pt", "*.pt", "out/", "!m.pt", "{a,b}.pt"]
    results = [(pattern.text, bool(pattern.outright)) for pattern in patterns(named, directory="ex")]
    assert results == [
        ("m.pt", True), ("out/m.pt", True), ("*.pt", False), ("out/", False), ("!m.pt", False), ("{a,b}.pt", True),
        ("{a,b}.pt", True),
    ]  # fmt: skip


def test_braces_that_stand_for_too_many_are_refused() -> None:
    with pytest.raises(globs.TooMany):
        patterns(["{a,b}" * 12], directory=".")


NAMES = ("a", "b", "ab", "a.js", "b.js", "dist", ".env", "x-1", "A", "a b", "é")
STEPS = (
    *NAMES,
    "*",
    "**",
    "*.js",
    "?",
    "a*",
    "*b",
    "[ab]",
    "[!a]",
    "[a-z]",
    "**",
    ".*",
    "?.js",
    "x-[0-9]",
    "[a-",
    "a**",
)
CASES = generated(800)


def cases(seed: int) -> tuple[list[str], list[list[str]]]:
    dice = random.Random(seed)
    paths: set[str] = set()
    while len(paths) < 60:
        path = "/".join(dice.choice(NAMES) for _ in range(dice.randint(1, 4)))
        if not any(path.startswith(f"{other}/") or other.startswith(f"{path}/") for other in paths):
            paths.add(path)
    lists = []
    for _ in range(CASES):
        one = []
        for number in range(dice.randint(1, 3)):
            text = "/".join(dice.choice(STEPS) for _ in range(dice.randint(1, 4))) + dice.choice(["", "", "", "/"])
            one.append(("!" if number and dice.random() < 0.4 else "") + text)
        lists.append(one)
    return sorted(paths), lists


def as_theirs(glob: str) -> str:
    """Theirs holds a pattern without a slash at the top alone; ours, as a .gitignore does, at any depth."""
    mark = "!" if glob.startswith("!") else ""
    text = glob.removeprefix("!")
    return glob if "/" in text.rstrip("/") else f"{mark}**/{text}"


@pytest.mark.peers
@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_what_the_library_of_upload_artifact_takes(tmp_path: Path, seed: int) -> None:
    if reason := node.missing():
        pytest.skip(reason)
    paths, lists = cases(seed)
    root = tmp_path / "tree"
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    file = tmp_path / "cases.json"
    file.write_text(json.dumps({"root": str(root), "lists": [[as_theirs(one) for one in item] for item in lists]}))
    theirs = node.run("glob.mjs", file, environ={})["taken"]
    assert isinstance(theirs, list) and len(theirs) == CASES
    assert theirs.count(None) < CASES / 4
    wrong = [
        (item, sorted(taken(item, paths)), their)
        for item, their in zip(lists, theirs, strict=True)
        if their is not None and taken(item, paths) != set(their)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("glob", "sign"),
    [
        ("[", "["), ("a[b", "["), ("[]", "["), ("[!]", "["), ("[a/b]", "["), ("{a,b", "{"), ("a/{b,{c,d}", "{"),
        ("[ab]", ""), ("[[]x", ""), ("[]]", ""), ("[!]]", ""), ("{a,b}", ""), ("a}", ""), ("\\[x", ""), ("[{]", ""),
    ],
)  # fmt: skip
def test_a_bracket_that_nothing_closes_is_found(glob: str, sign: str) -> None:
    assert unclosed(glob) == sign
    if sign:
        with pytest.raises(Wrong, match="nothing closes"):
            parsers.globs([glob])
    else:
        assert parsers.globs([glob]) == (glob,)
