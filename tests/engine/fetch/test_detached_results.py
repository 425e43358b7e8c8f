"""The machine's own program stores the results in a real client's S3, and the collector reads them as hostile input."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds.aws.object_store import S3Bucket
from cvl_ci.engine.fetch.detached_results import LARGEST_MANIFEST, StoredResults
from cvl_ci.engine.machine import detached as detached_program
from cvl_ci.engine.task import detached, script
from cvl_ci.errors import CvlError
from cvl_ci.model import detached as model
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import Detached, DetachPlan
from cvl_ci.model.launch import Launch, Spending
from cvl_ci.model.limits import RELEASE_MINUTES, Limits
from cvl_ci.model.plan import FilePlan, RunPlan, WorkPlan
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.ports import Fetched
from tests.support import s3

LEASE = "cvl-1-0a1b2c3d"
PLACE = BucketAddress(bucket=s3.BUCKET, prefix=f"ci/{LEASE}")
ABSENT = BucketAddress(bucket=s3.BUCKET, prefix="ci/another")
LAUNCH = Launch(
    cluster=LEASE, cloud="aws", region="us-east-1", zone=None, instance_type="m6i.large", accelerators={},
    spot=False, num_nodes=1, hourly_usd=0.1, created_at=0.0,
)  # fmt: skip
DETACHED = Detached(
    place=PLACE,
    title="it",
    work=WorkIdentity(title="it"),
    launch=LAUNCH,
    spending=Spending(),
    limits=Limits(),
    outputs=("out/**",),
    began_at=0.0,
)
PLAN = RunPlan(
    title="it",
    work=WorkPlan(run_commands=("true",)),
    files=FilePlan(outputs=("out/**",)),
    detach=DetachPlan(place=BucketAddress(bucket=s3.BUCKET, prefix="ci")),
)
END = "exit_code=3\ntimed_out=0\nphase=running\nmount=\n"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3.moto() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str) -> Any:
    s3.empty(endpoint)
    return s3.client(endpoint)


@pytest.fixture
def results(bucket: Any) -> StoredResults:
    return StoredResults(lambda name: S3Bucket(bucket, name), environment=os.environ)


class Machine:
    """The state folder of one job on a machine, with the programs that script.py would have stored there."""

    def __init__(self, home: Path, bucket: Any) -> None:
        self.state, self.deadline = home / ".cvl-ci" / LEASE, home / "deadline"
        (self.state / "detached").mkdir(parents=True)
        (self.state / "log/running").mkdir(parents=True)
        (self.state / "log/running/new").write_bytes(b"one\ntwo\n")
        (self.state / "end").write_text(END)
        (self.state / "detached/end.sh").write_text(f"cat {self.state}/end\n")
        (self.state / "detached/collect.sh").write_text("true\n")
        self.deadline.write_text("9999999999\n")
        os.utime(self.deadline, (1, 1))
        self.results = detached_program.JobResults(
            detached_program.S3Folder(bucket, s3.BUCKET, PLACE.prefix), str(self.state), str(self.deadline)
        )

    def add_archive(self, files: dict[str, bytes]) -> None:
        (self.state / "fetch").mkdir()
        (self.state / "fetch/root.tar").write_bytes(tar_of(files))
        (self.state / "detached/collect.sh").write_text("echo archive root.tar 1; echo noise\n")

    def hand_over(self) -> None:
        self.deadline.write_text("9999999999\n")


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def machine(tmp_path: Path, bucket: Any) -> Machine:
    return Machine(tmp_path / "home", bucket)


def fetch(results: StoredResults, into: Path) -> tuple[Fetched, list[str]]:
    lines: list[str] = []
    return results.fetch(DETACHED, results.end(PLACE), into=into, line=lines.append), lines


# ---- both sides together ---------------------------------------------------------------------------------------------


def test_the_collector_gets_the_end_the_log_and_the_outputs_that_the_machine_stored(
    machine: Machine, results: StoredResults, tmp_path: Path
) -> None:
    machine.add_archive({"out/weights.bin": b"w" * 100_000, "out/deep/er.txt": b"x"})
    assert results.end(PLACE) is None
    machine.results.store()
    end = results.end(PLACE)
    assert end is not None
    assert (end.node.exit_code, end.node.timed_out, end.problem) == (3, False, "")
    assert [file.name for file in end.files] == ["log/running/new", "fetch/root.tar"]
    fetched, lines = fetch(results, tmp_path / "into")
    assert lines == ["one", "two"]
    assert (fetched.problem, fetched.warnings) == (None, ())
    assert (tmp_path / "into/out/weights.bin").read_bytes() == b"w" * 100_000
    assert results.end(ABSENT) is None


def test_the_real_commands_of_the_script_pack_and_tell_the_end(
    machine: Machine, results: StoredResults, tmp_path: Path
) -> None:
    """The commands that a node stores, run as it runs them, with HOME as their only difference."""
    home = tmp_path / "home"
    (home / "sky_workdir/out").mkdir(parents=True)
    (machine.state / "began").write_text("1\n")
    (machine.state / "job-began").write_text("")
    os.utime(machine.state / "job-began", (1, 1))
    (home / "sky_workdir/out/new.txt").write_text("new")
    for name, command in {
        "end.sh": script.end(lease=LEASE),
        "collect.sh": script.collect(lease=LEASE, directory=".", globs=PLAN.files.outputs),
    }.items():
        (machine.state / "detached" / name).write_text(f"export HOME={home}\n{command}\n")
    machine.results.store()
    end = results.end(PLACE)
    assert end is not None and end.node.exit_code == 3
    fetched, _ = fetch(results, tmp_path / "into")
    assert [file.path for file in fetched.files] == ["out/new.txt"], fetched.problem


def test_the_manifest_is_the_last_object_and_a_bucket_that_is_away_is_asked_again(
    machine: Machine, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add_archive({"out/a": b"a"})
    order: list[str] = []

    class Away:
        """The bucket's client. Its first two answers are failures."""

        def put_object(self, **words: Any) -> None:
            order.append(words["Key"])
            bucket.put_object(**words)

        def upload_file(self, path: str, name: str, key: str) -> None:
            order.append(key)
            if len(order) <= 2:
                raise ConnectionError("away")
            bucket.upload_file(path, name, key)

    monkeypatch.setattr(detached_program, "TRY_SECONDS", 0.0)
    place = detached_program.S3Folder(Away(), s3.BUCKET, PLACE.prefix)
    detached_program.JobResults(place, str(machine.state), str(machine.deadline)).store()
    assert order[-1].endswith("/manifest.json")
    assert [key.rpartition("/")[2] for key in order] == ["new", "new", "new", "root.tar", "manifest.json"]


# ---- the machine's own side ------------------------------------------------------------------------------------------


def test_the_machine_waits_for_its_handover_before_it_packs(machine: Machine) -> None:
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            machine.hand_over()

    machine.results.await_handover(pause)
    assert len(waited) == 3


def test_the_machine_ends_through_its_deadline_after_the_run_had_time_to_label_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.hand_over()
    programs: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda words, **_: programs.append(words))
    waited: list[float] = []
    machine.results.end_machine(waited.append)
    assert detached_program.LINGER_SECONDS - 30 < waited[0] <= detached_program.LINGER_SECONDS
    monkeypatch.undo()
    (words,) = programs
    assert words[:2] == ["sudo", "-n"]
    subprocess.run(words[2:], check=True)
    assert machine.deadline.read_text() == "1\n", "a moment in the past, for root's timer"


def test_a_job_is_over_by_its_mark_or_by_the_end_of_its_shell(machine: Machine) -> None:
    shell = subprocess.Popen([sys.executable, "-c", ""])
    shell.wait()
    seen: list[float] = []
    detached_program.until_over(machine.results, lambda: not Path(f"/proc/{shell.pid}").exists(), seen.append)
    assert seen == []


def test_the_log_so_far_is_stored_during_the_job_and_only_what_changed(
    machine: Machine, results: StoredResults, tmp_path: Path
) -> None:
    machine.results.store_log()
    lines: list[str] = []
    assert results.fetch(DETACHED, None, into=tmp_path / "into", line=lines.append).files == ()
    assert lines == ["one", "two"]
    assert not (tmp_path / "into").exists()


def test_both_sides_name_the_same_manifest_and_the_same_pause() -> None:
    assert model.LINGER_SECONDS == detached_program.LINGER_SECONDS
    text = Path(detached_program.__file__).read_text()
    assert f'"{model.MANIFEST}"' in text


def test_the_job_starts_the_program_last_of_all_and_only_a_detached_one() -> None:
    text = script.run(PLAN, lease=LEASE)
    assert text.index("cvl_ci_sync" if "cvl_ci_sync" in text else "job-began") < text.rindex("cvl_ci_detached\n")
    assert "detached" not in script.run(RunPlan(title="it"), lease=LEASE)
    variables = script.environment(PLAN, lease=LEASE, deadline=0.0)
    assert json.loads(variables[detached.VARIABLE]) == {
        "bucket": s3.BUCKET,
        "prefix": PLACE.prefix,
        "hides": False,
    }
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_a_handover_before_the_program_looks_is_seen(machine: Machine, bucket: Any) -> None:
    """The run may move the deadline while this program still starts: the mark of the job decides."""
    (machine.state / "job-began").write_text("")
    os.utime(machine.state / "job-began", (1000, 1000))
    os.utime(machine.deadline, (1001, 1001))
    late = detached_program.JobResults(
        detached_program.S3Folder(bucket, s3.BUCKET, PLACE.prefix), str(machine.state), str(machine.deadline)
    )
    late.await_handover(lambda _: pytest.fail("it waits for a handover that was"))
    os.utime(machine.deadline, (999, 999))
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        machine.hand_over()

    late.await_handover(pause)
    assert waited, "the deadline of the machine's boot is no handover"


def test_without_a_handover_the_results_have_the_reserve_of_a_job_at_its_limit(machine: Machine) -> None:
    reserve = RELEASE_MINUTES * 60
    assert 60 <= detached_program.RESULTS_SECONDS < reserve
    machine.deadline.write_text(f"{int(time.time() + detached_program.RESULTS_SECONDS - 1)}\n")
    os.utime(machine.deadline, (1, 1))
    machine.results.await_handover(lambda _: pytest.fail("it waits in the time of the results"))


class Refusing:
    """A client that refuses each object whose name ends so, as boto3 words it."""

    def __init__(self, client: Any, end: str) -> None:
        self._client, self._end = client, end

    def put_object(self, **words: Any) -> None:
        self._refuse(words["Key"])
        self._client.put_object(**words)

    def upload_file(self, path: str, name: str, key: str) -> None:
        self._refuse(key)
        self._client.upload_file(path, name, key)

    def _refuse(self, key: str) -> None:
        if key.endswith(self._end):
            raise RuntimeError("An error occurred (AccessDenied) when calling the PutObject operation: no")


def test_a_lasting_refusal_ends_the_store_and_silence_does_not(
    machine: Machine, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached_program, "TRY_SECONDS", 0.0)
    monkeypatch.setattr(detached_program, "REFUSED_SECONDS", 0.0)
    place = detached_program.S3Folder(Refusing(bucket, "/new"), s3.BUCKET, PLACE.prefix)
    with pytest.raises(RuntimeError, match="AccessDenied"):
        detached_program.JobResults(place, str(machine.state), str(machine.deadline)).store()
    answers = iter([ConnectionError("away")] * 50)

    def act() -> str:
        for error in answers:
            raise error
        return "stored"

    assert detached_program.Retries(refused=0.0)(act) == "stored"


def test_a_file_that_vanished_is_told_and_the_rest_is_stored(
    machine: Machine, results: StoredResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached_program, "REFUSED_SECONDS", 0.0)
    (machine.state / "detached/collect.sh").write_text("echo archive root.tar 1\n")
    machine.results.store()
    end = results.end(PLACE)
    assert end is not None and end.node.exit_code == 3
    assert [file.name for file in end.files] == ["log/running/new"]
    assert end.problem == "fetch/root.tar: FileNotFoundError"


def test_the_words_about_the_end_and_a_log_that_grows_hold_no_secret(machine: Machine, bucket: Any) -> None:
    secret = "correct-horse-battery"
    secrets = detached_program.secrets_of([secret, "postgres://me:staple-9000@db/x"])
    place = detached_program.S3Folder(bucket, s3.BUCKET, PLACE.prefix)
    hiding = detached_program.JobResults(place, str(machine.state), str(machine.deadline), secrets)
    (machine.state / "log/running/new").write_bytes(f"one {secret} \xff\ntwo {secret[:12]}".encode("latin-1"))
    hiding.store_log()
    assert stored(bucket, "log/running/new") == b"one *** \xff\n", "half a secret is not known as one"
    (machine.state / "end").write_text(f"{END}left={secret}\n")
    (machine.state / "detached/collect.sh").write_text(f"echo staple-9000 {secret} >&2; exit 1\n")
    with (machine.state / "log/running/new").open("a") as log:
        log.write(secret[12:])
    hiding.store()
    assert stored(bucket, "log/running/new") == b"one *** \xff\ntwo ***"
    manifest = json.loads(stored(bucket, "manifest.json"))
    assert (manifest["end"], manifest["problem"]) == (f"{END}left=***\n", "*** ***")


def stored(bucket: Any, name: str) -> bytes:
    content: bytes = bucket.get_object(Bucket=s3.BUCKET, Key=PLACE.below(name))["Body"].read()
    return content


# ---- hostile bytes ---------------------------------------------------------------------------------------------------


def manifest(**changes: object) -> bytes:
    whole = {"version": 1, "ended_at": 5.0, "end": END, "problem": "", "files": []}
    return json.dumps({**whole, **changes}).encode()


def entry(name: str, content: bytes, **changes: object) -> dict[str, object]:
    return {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **changes}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        manifest(ended_at="never"),
        manifest(ended_at=float("nan")),
        manifest(files=7),
        manifest(files=[{"name": "../../etc/passwd", "size": 1, "sha256": ""}]),
        manifest(files=[entry("fetch/root.tar", b"")] * 2000),
        manifest(files=[entry("fetch/root.tar", b"", size=-1)]),
        b" " * (LARGEST_MANIFEST + 1),
    ],
    ids=range(12),
)
def test_a_manifest_that_no_machine_of_ours_writes_is_no_end(
    bucket: Any, results: StoredResults, content: bytes
) -> None:
    bucket.put_object(Bucket=s3.BUCKET, Key=PLACE.below("manifest.json"), Body=content)
    with pytest.raises(CvlError):
        results.end(PLACE)


def store(bucket: Any, name: str, content: bytes, **changes: object) -> None:
    bucket.put_object(Bucket=s3.BUCKET, Key=PLACE.below(name), Body=content)
    text = manifest(files=[entry(name, content, **changes)])
    bucket.put_object(Bucket=s3.BUCKET, Key=PLACE.below("manifest.json"), Body=text)


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"size": 5}, {"size": 1 << 60}], ids=str)
def test_an_archive_that_is_not_as_its_manifest_says_gives_no_file(
    bucket: Any, results: StoredResults, tmp_path: Path, changes: dict[str, object]
) -> None:
    store(bucket, "fetch/root.tar", tar_of({"out/a": b"a"}), **changes)
    fetched, _ = fetch(results, tmp_path / "into")
    assert fetched.files == ()
    assert fetched.problem and "root.tar" in fetched.problem


def test_an_archive_that_leads_out_of_the_folder_is_refused(
    bucket: Any, results: StoredResults, tmp_path: Path
) -> None:
    store(bucket, "fetch/root.tar", tar_of({"../../out": b"a", "out/fine": b"b"}))
    fetched, _ = fetch(results, tmp_path / "into")
    assert [file.path for file in fetched.files] == ["out/fine"]
    assert len(fetched.refused) == 1


def test_an_archive_of_another_name_is_not_unpacked(bucket: Any, results: StoredResults, tmp_path: Path) -> None:
    store(bucket, "fetch/..%2fevil.tar", tar_of({"out/a": b"a"}))
    assert fetch(results, tmp_path / "into")[0].files == ()


def test_a_log_longer_than_any_machine_writes_is_not_read_to_its_end(
    bucket: Any, results: StoredResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvl_ci.engine.whole_log.SEGMENT_BYTES", 1 << 20)
    store(bucket, "log/running/new", b"x\n" * (1 << 20))
    fetched, lines = fetch(results, tmp_path / "into")
    assert lines == []
    assert fetched.problem and "not fetched whole" in fetched.problem


def test_a_line_without_an_end_comes_in_pieces(bucket: Any, results: StoredResults, tmp_path: Path) -> None:
    store(bucket, "log/running/new", b"y" * 200_000 + b"\xff\n")
    _, lines = fetch(results, tmp_path / "into")
    assert "".join(lines) == "y" * 200_000 + "�"
    assert max(map(len, lines)) <= 1 << 16


def test_an_archive_that_is_missing_is_a_problem_and_the_end_stands(
    bucket: Any, results: StoredResults, tmp_path: Path
) -> None:
    store(bucket, "fetch/root.tar", b"tar")
    bucket.delete_object(Bucket=s3.BUCKET, Key=PLACE.below("fetch/root.tar"))
    fetched, _ = fetch(results, tmp_path / "into")
    assert fetched.problem and fetched.files == ()


def test_a_bucket_that_does_not_exist_is_not_the_absence_of_an_end(results: StoredResults) -> None:
    with pytest.raises(CvlError):
        results.end(BucketAddress(bucket="another-bucket", prefix="x"))


def test_the_time_of_the_machine_is_a_number_of_now(machine: Machine, results: StoredResults) -> None:
    machine.results.store()
    end = results.end(PLACE)
    assert end is not None and abs(end.ended_at - time.time()) < 600
