"""Put an image of a registry into a plan: the machine pulls it by its digest, and builds nothing. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import replace

from cvl_ci.model.container_image import ImageName
from cvl_ci.model.plan import RunPlan

LOGIN = ("SKYPILOT_DOCKER_USERNAME", "SKYPILOT_DOCKER_PASSWORD", "SKYPILOT_DOCKER_SERVER")
"""SkyPilot's own variables of a login for an image: sky/skylet/constants.py, DOCKER_LOGIN_ENV_VARS."""


def has_login(plan: RunPlan) -> bool:
    """Return whether the user sends a login of a registry to the machine."""
    names: Collection[str] = {*plan.variables.env, *plan.variables.secrets}
    return set(LOGIN) <= set(names)


def with_image(plan: RunPlan, image: ImageName, *, builds: bool) -> RunPlan:
    """Return the plan with this image. `builds`: whether the last command of its setup builds the image.

    Scripts that call Docker get it under the name that they look for. Without them, the whole work runs in the image.
    """
    work = plan.work
    if not work.needs_docker:
        return replace(plan, work=replace(work, image=str(image)))
    setup = work.setup_commands[:-1] if builds else work.setup_commands
    local = plan.variables.env.get("CVL_IMAGE")
    lines = [_login(image)] if has_login(plan) else []
    lines.append(f"docker pull --quiet {image}")
    lines += [f"docker tag {image} {shlex.quote(local)}"] if local else []
    env = plan.variables.env if local else {**plan.variables.env, "CVL_IMAGE": str(image)}
    return replace(
        plan,
        work=replace(work, setup_commands=(*setup, " && ".join(lines))),
        variables=replace(plan.variables, env=env),
    )


def _login(image: ImageName) -> str:
    user, password, _ = LOGIN
    login = f'docker login --username "${user}" --password-stdin {shlex.quote(image.host)}'
    return f'printf %s "${password}" | {login}'
