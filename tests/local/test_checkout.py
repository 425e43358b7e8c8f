"""Which files belong to the checkout: all that git tracks, as they are now, and nothing from outside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.local.git import checkout as checkouts
from cvl_ci.local.git.checkout import FolderCheckout, GitCheckout, open_checkout
from cvl_ci.ports import Checkout
from tests.support.field import FIELD, plant, run_git
from tests.support.processor import children_seconds


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return plant(tmp_path / "repository")


def paths(checkout: Checkout, *prefixes: str) -> list[str]:
    return [entry.path for entry in checkout.files(*prefixes)]


def test_git_lists_what_it_tracks_even_what_it_would_ignore(repository: Path) -> None:
    checkout = open_checkout(repository)
    assert isinstance(checkout, GitCheckout)
    assert paths(checkout, ".") == sorted(FIELD)
    assert "cvlization/data/tiny.py" in paths(checkout, "cvlization")


def test_it_is_found_from_below(repository: Path) -> None:
    assert open_checkout(repository / "examples/vision").root == repository.resolve()
    assert open_checkout(Path("/"), at=str(repository / "examples/vision/usual/train.sh")).root == repository.resolve()


def test_examples_are_all_directories_with_an_example_yaml_new_ones_too(repository: Path) -> None:
    plant(repository, {"new/example.yaml": "name: new\n"}, git=False)
    assert list(open_checkout(repository).examples()) == sorted(
        {path.removesuffix("/example.yaml") for path in FIELD if path.endswith("example.yaml")} | {"new"}
    )


def test_untracked_files_stay_behind_unless_all_of_the_folder_is_new(repository: Path) -> None:
    plant(repository, {"cvlization/scratch.py": "", "new/x.py": "", "new/y": "", "new/.gitignore": "y"}, git=False)
    checkout = open_checkout(repository)
    assert "cvlization/scratch.py" not in paths(checkout, "cvlization")
    assert checkout.left_behind("cvlization") == {"cvlization/scratch.py": "not tracked by git"}
    assert paths(checkout, "new") == ["new/.gitignore", "new/x.py"]
    assert checkout.left_behind("new") == {}


def test_a_deleted_file_is_not_listed_but_named(repository: Path) -> None:
    (repository / "README.md").unlink()
    checkout = open_checkout(repository)
    assert "README.md" not in paths(checkout, ".")
    assert checkout.left_behind(".") == {"README.md": "it no longer exists"}


def test_a_link_to_a_file_inside_is_its_content(repository: Path) -> None:
    (repository / "link.md").symlink_to("README.md")
    run_git(repository, "add", "link.md")
    (entry,) = open_checkout(repository).files("link.md")
    assert (entry.path, entry.source, entry.bytes) == ("link.md", str(repository.resolve() / "README.md"), 11)


def test_a_link_to_a_folder_inside_is_what_is_in_it(repository: Path) -> None:
    (repository / "linked").symlink_to("cvlization")
    run_git(repository, "add", "linked")
    assert paths(open_checkout(repository), "linked") == ["linked/__init__.py", "linked/data/tiny.py"]


@pytest.mark.parametrize("git", [True, False])
@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/etc/hostname", "out of"),
        ("../beside", "out of"),
        ("..", "out of"),
        (".", "around"),
        ("gone", "nothing"),
        ("loop", "nothing"),
    ],
)
def test_a_link_out_to_nothing_or_in_a_circle_stays_behind(tmp_path: Path, target: str, why: str, *, git: bool) -> None:
    (tmp_path / "beside").write_text("secret")
    plant(tmp_path / "x", {"a/b.txt": "b"}, git=git)
    (tmp_path / "x" / "loop").symlink_to(target)
    if git:
        run_git(tmp_path / "x", "add", "loop")
    checkout = open_checkout(tmp_path / "x")
    assert paths(checkout, ".") == ["a/b.txt"]
    assert why in checkout.left_behind(".")["loop"]


def test_a_submodule_stays_behind(repository: Path) -> None:
    commit = "1234567890123456789012345678901234567890"
    run_git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},vendored")
    checkout = open_checkout(repository)
    assert paths(checkout, ".") == sorted(FIELD)
    assert checkout.left_behind(".") == {"vendored": "a submodule"}


def test_names_may_be_anything(tmp_path: Path) -> None:
    odd = {"a b/ü.txt": "x", "-rf": "x", ":(top)x": "x", "new\nline": "x", '"quoted"\t': "x", "*": "x"}
    checkout = open_checkout(plant(tmp_path / "odd", odd))
    assert paths(checkout, ".") == sorted(odd)
    for name in odd:
        assert paths(checkout, name) == [name]


def test_git_runs_nothing_of_the_repository(repository: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\ntouch {ran}\n")
    script.chmod(0o755)
    run_git(repository, "config", "core.fsmonitor", str(script))
    run_git(repository, "config", "filter.x.clean", str(script))
    run_git(repository, "config", "core.hooksPath", str(tmp_path))
    (repository / ".gitattributes").write_text("* filter=x\n")
    ran.unlink(missing_ok=True)
    checkout = open_checkout(repository)
    assert paths(checkout, ".") == sorted(FIELD)
    assert checkout.left_behind(".") == {".gitattributes": "not tracked by git"}
    assert not ran.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_repository_of_somebody_else_is_read_too(repository: Path) -> None:
    for path in (repository, repository / ".git"):
        os.chown(path, 12345, 12345)
    assert paths(open_checkout(repository), "README.md") == ["README.md"]


def test_a_broken_repository_says_so(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(CvlError, match="git could not list"):
        open_checkout(tmp_path / "x").files(".")


def test_the_commit_that_is_checked_out_is_named_on_a_branch_and_off_it(repository: Path) -> None:
    commits = []
    for text in ("one", "two"):
        (repository / "more.txt").write_text(text)
        run_git(repository, "add", ".")
        run_git(repository, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", text)
        commits.append(open_checkout(repository).head)
    assert all(len(commit) == 40 for commit in commits)
    assert len({*commits}) == 2
    run_git(repository, "checkout", "-q", "--detach", "HEAD~1")
    assert open_checkout(repository).head == open_checkout(repository / "examples").head == commits[0]


def test_without_a_commit_none_is_named(tmp_path: Path) -> None:
    assert open_checkout(tmp_path).head == ""
    run_git(tmp_path, "init", "-q")
    assert open_checkout(tmp_path).head == ""
    (tmp_path / ".git/HEAD").write_text("ref: refs/heads/../../evil\n")
    assert open_checkout(tmp_path).head == ""


def test_a_plain_folder_has_all_files_but_hidden_ones(tmp_path: Path) -> None:
    plant(
        tmp_path / "x",
        {"a.txt": "a", "d/data/b.txt": "b", ".env": "SECRET", ".ssh/id": "key", "d/.gitignore": "*"},
        git=False,
    )
    checkout = open_checkout(tmp_path / "x")
    assert isinstance(checkout, FolderCheckout)
    assert not isinstance(checkout, GitCheckout)
    assert paths(checkout, ".") == ["a.txt", "d/data/b.txt"]
    assert paths(checkout, "d", "a.txt", "gone") == ["a.txt", "d/data/b.txt"]


def test_a_folder_too_large_to_be_meant_is_not_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path / "x", {f"{n}.txt": "" for n in range(20)}, git=False)
    monkeypatch.setattr(checkouts, "MOST_FILES", 10)
    with pytest.raises(CvlError, match="more than 10 files"):
        open_checkout(tmp_path / "x").files(".")


def test_a_typed_path_is_located_from_where_one_stands(repository: Path) -> None:
    checkout = open_checkout(repository / "examples")
    assert checkout.locate("vision/usual") == "examples/vision/usual"
    assert checkout.locate("..") == "."
    assert checkout.locate(str(repository / "cvlization")) == "cvlization"
    assert checkout.locate("../..") is None
    assert checkout.locate("/etc") is None
    for no_path in ("x" * 5000, "a\0b"):
        assert checkout.locate(no_path) is None
        assert open_checkout(repository, at=no_path).root == repository.resolve()


def test_reading_stops_at_its_limit_and_at_the_root(repository: Path) -> None:
    checkout = open_checkout(repository)
    assert checkout.read("README.md", limit=3) == b"The"
    (repository / "out").symlink_to("/etc/hostname")
    for path in ("gone", "out", "../x", "cvlization"):
        with pytest.raises(OSError):
            checkout.read(path, limit=3)


CREDENTIALS = {
    "gha-creds-0a1b.json": "{}",
    "server.pem": "-----BEGIN PRIVATE KEY-----\n",
    "keys/id_ed25519": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
    "prod.env": "A=b",
    "cvl-outputs/cvl-0a1b/job.log": "old",
}
GOES = {"ca.pem": "-----BEGIN CERTIFICATE-----\n", "train.py": "", "keys/id_ed25519.pub": "ssh-ed25519 AAAA"}


@pytest.mark.parametrize("how", ["no git", "new folder in git", "root of git"])
def test_credentials_and_old_outputs_never_go_along_and_are_named(tmp_path: Path, how: str) -> None:
    below = "" if how != "new folder in git" else "new/"
    planted = {f"{below}{path}": text for path, text in {**CREDENTIALS, **GOES}.items()}
    if how == "no git":
        plant(tmp_path, planted, git=False)
        checkout: Checkout = FolderCheckout(tmp_path.resolve(), working_folder=tmp_path)
    else:
        plant(tmp_path, {"tracked/x": ""})
        plant(tmp_path, planted, git=False)
        checkout = open_checkout(tmp_path)
    place = below.rstrip("/") or "."
    behind = checkout.left_behind(place)
    assert {f"{below}{path}" for path in CREDENTIALS} <= set(behind)
    assert "credentials" in behind[f"{below}server.pem"]
    assert "earlier runs" in behind[f"{below}cvl-outputs/cvl-0a1b/job.log"]
    assert not {f"{below}{path}" for path in CREDENTIALS} & set(paths(checkout, place))
    if how != "root of git":
        assert paths(checkout, place) == sorted(f"{below}{path}" for path in GOES)


@pytest.mark.parametrize("git", [True, False])
def test_no_link_leads_to_credentials(tmp_path: Path, git: bool) -> None:
    plant(tmp_path, {"a/x.py": ""}, git=git)
    plant(tmp_path, {"away/id_rsa": "x"}, git=False)
    (tmp_path / "a/data").symlink_to("../away/id_rsa")
    (tmp_path / "a/folder").symlink_to("../away")
    if git:
        run_git(tmp_path, "add", "a")
    checkout = open_checkout(tmp_path) if git else FolderCheckout(tmp_path.resolve(), working_folder=tmp_path)
    assert paths(checkout, "a") == ["a/x.py"]
    assert "credentials" in checkout.left_behind("a")["a/data"]


def test_credentials_that_git_tracks_go_along(tmp_path: Path) -> None:
    plant(tmp_path, {"a/server.pem": "-----BEGIN PRIVATE KEY-----\n"})
    checkout = open_checkout(tmp_path)
    assert paths(checkout, "a") == ["a/server.pem"]
    assert checkout.left_behind("a") == {}


# ---- many files ------------------------------------------------------------------------------------------------------

MANY = 4_000
DEAREST = 60
"""How many times the processor time of `git ls-files` may be used: 16 are, where realpath took 410 (reading: 100)."""


@pytest.fixture(scope="module")
def large_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository of many files, six folders deep, as data sets are."""
    root = tmp_path_factory.mktemp("many").resolve()
    for number in range(MANY):
        folder = root / "examples/big/data" / str(number // 1000) / str(number // 100) / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_bytes(b"x")
    run_git(root, "init", "-q")
    run_git(root, "add", ".")
    return root


def processor_times_of_git(root: Path, words: Callable[[Path], object]) -> float:
    """Return how many times as long as `git ls-files` this takes, by the processor; the best of three."""

    def ratio() -> float:
        before = children_seconds()
        for _ in range(10):
            run_git(root, "ls-files", "--stage")
        git = (children_seconds() - before) / 10
        before = time.process_time()
        words(root)
        return (time.process_time() - before) / git

    return min(ratio() for _ in range(3))


def test_many_files_are_listed_in_little_more_than_git_takes(large_repository: Path) -> None:
    def listing(root: Path) -> None:
        checkout = open_checkout(root)
        assert len(checkout.files(".")) == MANY
        assert checkout.left_behind(".") == {}

    assert processor_times_of_git(large_repository, listing) < DEAREST


def test_many_files_are_read_in_little_more_than_git_takes(large_repository: Path) -> None:
    checkout = open_checkout(large_repository)
    paths_of_all = paths(checkout, ".")

    def reading(_: Path) -> None:
        assert all(checkout.read(path, limit=10) == b"x" for path in paths_of_all)

    assert processor_times_of_git(large_repository, reading) < DEAREST


@pytest.mark.parametrize("git", [True, False])
def test_a_file_below_a_link_is_never_taken_for_a_plain_one(tmp_path: Path, *, git: bool) -> None:
    """A folder that became a link between two listings leads out: what was seen before must not count."""
    root = plant(tmp_path / "x", {"a/b/c.txt": "inside", "d.txt": "d"}, git=git)
    plant(tmp_path / "out", {"c.txt": "secret"}, git=False)
    checkout = open_checkout(root)
    assert paths(checkout, ".") == ["a/b/c.txt", "d.txt"]
    (root / "a/b/c.txt").unlink()
    (root / "a/b").rmdir()
    (root / "a/b").symlink_to(tmp_path / "out")
    assert paths(checkout, ".") == ["d.txt"]
    assert "a link out of the repository" in checkout.left_behind(".").values()
    with pytest.raises(OSError, match="leads out"):
        checkout.read("a/b/c.txt", limit=10)


@pytest.mark.parametrize("text", ["../out/c.txt", "a/../../out/c.txt", "/etc/hostname", "a//../../out/c.txt"])
def test_only_a_plain_name_is_read_without_resolving_it(tmp_path: Path, text: str) -> None:
    plant(tmp_path / "out", {"c.txt": "secret"}, git=False)
    checkout = open_checkout(plant(tmp_path / "x", {"a/c.txt": "inside"}))
    with pytest.raises(OSError):
        checkout.read(text, limit=10)
    assert checkout.read("a/../a/./c.txt", limit=10) == b"inside"
