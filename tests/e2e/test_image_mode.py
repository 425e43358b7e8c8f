"""A job in an image of the user: SkyPilot's own container on the machine, with every kind of mount."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.sandbox.docker.engine import Docker
from cvl_ci.sandbox.emulator.image_mirror import OFFERED
from tests.e2e.conftest import Terminal
from tests.e2e.test_storage import s3_of

COPIED, TRAIN = bytes(range(256)) * 5000, b"a,b\n1,2\n"
RECIPE = f"""\
FROM {{machine}}
LABEL {OFFERED}=yes
RUN ssh-keygen -A
USER ubuntu
ENV HOME=/home/ubuntu
CMD []
"""
"""An image with all that SkyPilot installs in a container, but for fuse3, which it installs from Debian's servers.

It installs `fuse`, edits its fuse.conf, and then installs fuse3 because there is no fusermount3 (docker_utils.py:432,
aws-ray.yml.j2:215, mounting_utils.py:28). Debian would ask a question about that file, which would end the mount.
"""


@pytest.fixture
def image(terminal: Terminal) -> Iterator[str]:
    """Return an image of this computer's Docker that machines may pull."""
    name = f"cvl-ci-test-image-{os.getpid()}"
    recipe = RECIPE.format(machine=terminal.sandbox.status().image)
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"], input=recipe.encode(), env=environment, check=True
    )
    yield name
    Docker(os.environ).run("image", "rm", "--force", name)


@pytest.mark.minutes(5)
def test_mounts_and_outputs_of_a_job_in_its_own_image(terminal: Terminal, tmp_path: Path, image: str) -> None:
    """The machine pulls the image; a copy, a cached bucket and a local folder are in it; its outputs come back."""
    s3 = s3_of(terminal)
    s3.create_bucket(Bucket="for-images")
    s3.put_object(Bucket="for-images", Key="tiny/a.bin", Body=COPIED)
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    (folder / "data/train.csv").write_bytes(TRAIN)
    command = (
        "test -e /.dockerenv && id -un && dpkg -s fuse3 | grep ^Status && "
        "sha256sum /copied/a.bin /cached/a.bin /local/train.csv && mkdir -p outputs && "
        "cat /copied/a.bin /local/train.csv > outputs/both.bin && cp /copied/a.bin /cached/written.bin"
    )
    ran = terminal.run(
        *("--image", image, "--command", command, "--gpu", "none", "--max-runtime", "5m"),
        *("--mount", "/copied=s3://for-images/tiny", "--mount", "/cached=s3://for-images/tiny:cached"),
        *("--mount", "/local=data"),
        checkout=folder,
    )

    assert ran.code == 0, ran.err + ran.out
    assert "Status: install ok installed" in ran.out
    for name, content in {"/copied/a.bin": COPIED, "/cached/a.bin": COPIED, "/local/train.csv": TRAIN}.items():
        assert f"{hashlib.sha256(content).hexdigest()}  {name}" in ran.out
    assert "/copied is checked: 1 files" in ran.out + ran.err
    assert "1 files, 1 of them by content" in ran.out + ran.err
    assert [path.read_bytes() for path in ran.folder.rglob("both.bin")] == [COPIED + TRAIN]
    assert s3.get_object(Bucket="for-images", Key="tiny/written.bin")["Body"].read() == COPIED
    assert ran.summary["released"]["gone"] is True
    assert terminal.machines() == []
