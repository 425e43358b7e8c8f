"""Let Debian install the packages of a mount without a question.

In an image, SkyPilot installs `fuse` and edits its /etc/fuse.conf (sky/provision/docker_utils.py:432,
sky/templates/aws-ray.yml.j2:215). The mount then needs `fuse3`, which brings the same file
(sky/data/mounting_utils.py:28). So dpkg asks which of the two should stay, reads no answer, and the mount fails. This
module is loaded in the worker process only.
"""

from __future__ import annotations

from typing import Any

from sky.data import mounting_utils

ANSWERS = ("confdef", "confold")
"""The default of the package where it has one; otherwise the file as it is: SkyPilot's edit lets FUSE admit others."""
_OF_APT = " ".join(f"-o Dpkg::Options::=--force-{answer}" for answer in ANSWERS)
_OF_DPKG = " ".join(f"--force-{answer}" for answer in ANSWERS)


def answer_dpkg() -> None:
    """Answer dpkg's questions in each script that mounts storage. A second call changes nothing."""
    original = getattr(mounting_utils.get_mounting_script, "original", mounting_utils.get_mounting_script)

    def get_mounting_script(*arguments: Any, **options: Any) -> str:
        return with_answers(original(*arguments, **options))

    get_mounting_script.original = original  # type: ignore[attr-defined]
    mounting_utils.get_mounting_script = get_mounting_script


def with_answers(script: str) -> str:
    """Return a script whose apt-get and dpkg keep the edited files of a package."""
    for command, answers in (("apt-get install", _OF_APT), ("dpkg -i", _OF_DPKG), ("dpkg --install", _OF_DPKG)):
        program, _, action = command.partition(" ")
        script = script.replace(f"sudo {command} ", f"sudo {program} {answers} {action} ")
    return script
