"""The inputs of a deployment's steps: its image and registry."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.inputs import parsers
from cvl_ci.inputs.matrix_inputs import read_list
from cvl_ci.inputs.option import ACTION, CLI, EVERYWHERE, option
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.container_image import ImageName, image_name
from cvl_ci.model.secret import Secret

IMAGE, MODELS, YAML, UP, SMOKE = STEPS = ("image", "models", "yaml", "up", "smoke")
"""The steps of a deployment, in their order."""
MOST_DRAIN_MINUTES = 15.0


def read_registry(value: object) -> ImageName:
    """Return the repository of images, such as `ghcr.io/owner/name`. Raise Wrong for anything else."""
    text = parsers.text(value)
    name = image_name(text)
    if name is None or "/" not in text or name.tag or name.digest:
        raise Wrong("is not HOST/PATH, such as ghcr.io/owner/images, in small letters and without a tag")
    return name


def read_drain(value: object) -> float:
    """Return minutes. Raise Wrong for a time above the limit: the cloud bills two services for all of it."""
    minutes = parsers.minutes(value)
    if minutes > MOST_DRAIN_MINUTES:
        problem = f"is more than {MOST_DRAIN_MINUTES:g}m, for which two services are billed; a number alone is minutes"
        raise Wrong(problem)
    return minutes


def read_steps(value: object) -> tuple[str, ...]:
    """Return the steps in their own order. Raise Wrong for an unknown one."""
    words = read_list(value)
    for word in words:
        if word not in STEPS:
            raise Wrong(f"is not one of {', '.join(STEPS)}", display=word, near=similar(word, STEPS))
    return tuple(step for step in STEPS if step in words)


@dataclass(frozen=True, kw_only=True)
class RolloutInputs:
    """The registry of the service's image."""

    registry: ImageName | None = option(
        read_registry,
        help="Build the example's Dockerfile here, push the image to this repository, and run that image. The same "
        "content is built once.",
        metavar="HOST/PATH",
        example="ghcr.io/owner/images",
        default="the machine runs the preset `build`",
        entry_points=EVERYWHERE,
        verbs=("deploy",),
    )


@dataclass(frozen=True, kw_only=True)
class StepsInputs:
    """The steps of a deployment at a terminal."""

    steps: tuple[str, ...] = option(
        read_steps,
        value=(),
        help="Only these steps of a deployment. `image` builds and pushes, `models` stores models, `yaml` prints the "
        "SkyPilot task, `up` starts the service, and `smoke` sends requests.",
        metavar="STEPS",
        example="image,yaml",
        default="all that the other options ask for",
        entry_points=CLI,
        verbs=("deploy",),
    )
    url: str | None = option(
        parsers.text,
        help="With `--steps smoke` alone: the address of a service that runs. CVL_CI_DEPLOY_TOKEN is its token.",
        metavar="URL",
        example="http://203.0.113.7:8080",
        entry_points=CLI,
        verbs=("deploy",),
    )


@dataclass(frozen=True, kw_only=True)
class StepRolloutInputs:
    """The inputs of a rollout in a workflow: the login of its registry, and the time of two services.

    A terminal and the library take the login from the environment.
    """

    registry_user: str = option(
        parsers.text,
        value="",
        help="The user of `registry`. Registries of AWS, Google Cloud and Azure take the cloud's own credentials.",
        example="octocat",
        entry_points=ACTION,
        verbs=("deploy",),
    )
    registry_password: Secret | None = option(
        lambda value: Secret(parsers.text(value)),
        help="The password or token of `registry`, from a secret. It never reaches a machine.",
        entry_points=ACTION,
        verbs=("deploy",),
    )
    drain: float | None = option(
        read_drain,
        help="The time for which an older service of the environment still answers, after cvl-ci tells the new "
        "address. The cloud bills both. At most 15m. A number alone is minutes.",
        metavar="TIME",
        example="2m",
        default="30s",
        entry_points=ACTION,
        verbs=("deploy",),
    )


ROLLOUT_GROUPS = (RolloutInputs, StepsInputs, StepRolloutInputs)
