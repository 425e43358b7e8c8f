"""The step `image`: built once for each content, referred to by the digest of the registry, and never half pushed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cvl_ci.commands.deploy.image_step import ImageContent, ImagePorts, content_tag, ensure, find, require_readable
from cvl_ci.errors import ImageError
from cvl_ci.model.container_image import ImageName, RegistryLogin
from cvl_ci.model.plan import RunPlan, VariablePlan, WorkPlan
from cvl_ci.model.secret import Secret
from cvl_ci.planning import pushed_image
from cvl_ci.ports.images import ImageBuild, LocalImage, Tell

DIGEST, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
REPOSITORY = ImageName(host="registry.test", path="cvl/images")
LOGIN = RegistryLogin(user="anna", password=Secret("the-password-of-the-registry"))


@dataclass
class FakeRegistry:
    """A registry in a dict. `is_private`: a caller without a login is refused."""

    digests: dict[str, str] = field(default_factory=dict)
    is_private: bool = False
    asked: list[str] = field(default_factory=list)

    def digest(self, name: ImageName, login: RegistryLogin | None) -> str:
        self.asked.append(str(name))
        if name.host != REPOSITORY.host:
            raise ImageError(f"The registry {name.host} did not answer")
        if self.is_private and login is None:
            raise ImageError("refused")
        return name.digest if name.digest in self.digests.values() else self.digests.get(str(name), "")


@dataclass
class FakeBuilder:
    """An engine. `pushes`: what the registry has after a push; None: it refuses."""

    registry: FakeRegistry
    pushes: str | None = DIGEST
    fails: bool = False
    local: dict[str, LocalImage] = field(default_factory=dict)
    built: list[ImageBuild] = field(default_factory=list)

    def local_image(self, name: str) -> LocalImage | None:
        return self.local.get(name)

    def build(self, build: ImageBuild, *, tell: Tell) -> None:
        if self.fails:
            raise ImageError("The image was not built. The last lines of `docker build`:\n  E: no such package")
        self.built.append(build)

    def push(self, name: ImageName, login: RegistryLogin | None) -> str:
        assert login == LOGIN
        if self.pushes is None:
            raise ImageError("denied: requested access to the resource is denied")
        self.registry.digests[str(name)] = self.pushes
        return DIGEST


@dataclass
class Bench:
    folder: Path
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.builder = FakeBuilder(self.registry, local={"base:1": LocalImage(id="sha256:base", is_made_here=False)})
        (self.folder / "Dockerfile").write_text("FROM base:1\n")
        self.content = ImageContent(example="Hello_World", folder=self.folder, bases=("base:1",))

    @property
    def ports(self) -> ImagePorts:
        login = {REPOSITORY.host: LOGIN}
        return ImagePorts(builder=self.builder, registry=self.registry, login=login, tell=self.said.append)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_image_is_built_pushed_and_named_by_the_digest_of_its_registry(bench: Bench) -> None:
    image = ensure(REPOSITORY, bench.content, bench.ports)
    assert str(image) == f"registry.test/cvl/images@{DIGEST}"
    [build] = bench.builder.built
    assert str(build.name).startswith("registry.test/cvl/images:hello-world-")
    assert not build.pulls, "its base is an image of this computer alone"
    assert LOGIN.password.reveal() not in " ".join(bench.said)


def test_the_same_content_is_built_once(bench: Bench) -> None:
    first = ensure(REPOSITORY, bench.content, bench.ports)
    bench.said.clear()
    assert ensure(REPOSITORY, bench.content, bench.ports) == first
    assert len(bench.builder.built) == 1
    assert len(bench.said) == 1 and "registry already; nothing is built" in bench.said[0]


def test_a_look_builds_nothing(bench: Bench) -> None:
    found = find(REPOSITORY, bench.content, bench.ports)
    assert (found.digest, bench.builder.built) == ("", [])


@pytest.mark.parametrize("change", ["content", "mode", "name", "argument", "base"])
def test_each_part_of_the_content_changes_the_tag(bench: Bench, change: str) -> None:
    content, identity = bench.content, {"base:1": "sha256:base"}
    before = content_tag(content, identity)
    assert content_tag(content, identity) == before
    recipe = bench.folder / "Dockerfile"
    if change == "content":
        recipe.write_text("FROM base:1\nRUN true\n")
    elif change == "mode":
        recipe.chmod(0o755)
    elif change == "name":
        recipe.rename(bench.folder / "Dockerfile2")
    elif change == "argument":
        content = replace(content, arguments={"A": "1"})
    else:
        identity = {"base:1": "sha256:newer"}
    assert content_tag(content, identity) != before


def test_a_base_of_a_registry_is_pulled_again_and_one_of_this_computer_alone_is_not_asked_for(bench: Bench) -> None:
    bench.registry.digests["registry.test/base:2"] = OTHER
    content = replace(bench.content, bases=("registry.test/base:2",))
    ensure(REPOSITORY, content, bench.ports)
    assert bench.builder.built[0].pulls
    bench.builder.local["base:1"] = LocalImage(id="sha256:own", is_made_here=True)
    bench.registry.asked.clear()
    find(REPOSITORY, bench.content, bench.ports)
    assert [name for name in bench.registry.asked if "base" in name] == []


def test_with_one_own_base_each_base_is_that_of_this_computer_as_the_engine_takes_it(bench: Bench) -> None:
    bench.registry.digests["registry.test/base:2"] = OTHER
    bench.builder.local["registry.test/base:2"] = LocalImage(id="sha256:stale", is_made_here=False)
    content = replace(bench.content, bases=("base:1", "registry.test/base:2"))
    found = find(REPOSITORY, content, bench.ports)
    expected = content_tag(content, {"base:1": "sha256:base", "registry.test/base:2": "sha256:stale"})
    assert (found.pulls, found.name.tag) == (False, expected)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("build", "E: no such package"),
        ("push", "denied: requested access"),
        ("lost", "not in its registry, and not sha256:1"),
        ("other", "is sha256:2"),
        ("base", "neither in its registry nor on this computer"),
    ],
)
def test_a_failure_names_its_cause_and_no_image(bench: Bench, fault: str, problem: str) -> None:
    content = bench.content
    if fault == "build":
        bench.builder.fails = True
    elif fault == "push":
        bench.builder.pushes = None
    elif fault == "lost":
        bench.builder.pushes = ""
    elif fault == "other":
        bench.builder.pushes = OTHER
    else:
        content = replace(content, bases=("absent:1",))
    with pytest.raises(ImageError, match=problem):
        ensure(REPOSITORY, content, bench.ports)


def test_a_private_repository_needs_a_login_that_the_user_sends(bench: Bench) -> None:
    image = ensure(REPOSITORY, bench.content, bench.ports)
    require_readable(image, bench.registry, has_login=False)
    bench.registry.is_private = True
    with pytest.raises(ImageError, match=r"refuses .* without a login"):
        require_readable(image, bench.registry, has_login=False)
    require_readable(image, bench.registry, has_login=True)


IMAGE = replace(REPOSITORY, digest=DIGEST)
SETUP = ("download weights", "bash build.sh")


def test_a_script_with_docker_gets_the_image_under_its_own_name() -> None:
    work = WorkPlan(setup_commands=SETUP, run_commands=("bash serve.sh",), needs_docker=True)
    plan = RunPlan(title="x", work=work, variables=VariablePlan(env={"CVL_IMAGE": "hello"}))
    new = pushed_image.with_image(plan, IMAGE, builds=True)
    assert new.work.setup_commands == (
        "download weights",
        f"docker pull --quiet {IMAGE} && docker tag {IMAGE} hello",
    )
    assert new.work.image is None


def test_a_login_that_the_user_sends_goes_to_stdin_alone() -> None:
    secrets = {name: Secret(f"the-{name}") for name in pushed_image.LOGIN}
    work = WorkPlan(setup_commands=SETUP, run_commands=("bash serve.sh",), needs_docker=True)
    plan = RunPlan(title="x", work=work, variables=VariablePlan(secrets=secrets))
    line = pushed_image.with_image(plan, IMAGE, builds=True).work.setup_commands[-1]
    assert '"$SKYPILOT_DOCKER_PASSWORD" | docker login' in line and "--password-stdin registry.test &&" in line
    assert "the-" not in line


def test_a_server_without_docker_runs_in_the_image() -> None:
    plan = RunPlan(title="x", work=WorkPlan(run_commands=("bash serve.sh",)))
    assert pushed_image.with_image(plan, IMAGE, builds=False).work.image == str(IMAGE)
