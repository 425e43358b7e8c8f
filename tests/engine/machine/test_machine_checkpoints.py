"""Checkpoints on a machine: which are complete, and what a store holds after a kill at any moment."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cvl_ci.engine.machine.checkpoints import rounds, scan, snapshot, sync
from cvl_ci.engine.task import checkpoints


class Killed(BaseException):
    """The machine ends here."""


class Memory:
    """A store that holds objects in memory. `ends_after`: the calls until the machine ends, in the middle of one."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.ends_after = 10**9
        self.calls = 0

    def _step(self) -> None:
        self.calls += 1
        if self.calls > self.ends_after:
            raise Killed

    def put(self, key: str, content: bytes) -> None:
        self._step()
        self.objects[key] = content

    def put_file(self, key: str, path: str) -> None:
        self.put(key, Path(path).read_bytes())

    def get(self, key: str) -> bytes | None:
        self._step()
        return self.objects.get(key)

    def get_file(self, key: str, path: str) -> None:
        self._step()
        Path(path).write_bytes(self.objects[key])

    def keys(self, prefix: str) -> Sequence[str]:
        self._step()
        return sorted(key for key in self.objects if key.startswith(prefix))

    def delete(self, key: str) -> None:
        self._step()
        self.objects.pop(key, None)


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def complete_in(root: Path, *globs: str, between: Callable[[], None] = lambda: None) -> list[str]:
    """Return the checkpoints that are held and still complete after `between`, without the short name of the folder."""
    rules = snapshot.rules(checkpoints.rules(globs, directory="."))
    units = snapshot.units({"root": str(root)}, rules)
    held = [snapshot.HeldCheckpoint(unit, str(root.parent / "held" / str(at))) for at, unit in enumerate(units)]
    between()
    complete = sorted(one.unit.path for one in held if one.is_complete())
    for one in held:
        one.drop()
    return complete


def safetensors(size: int = 8) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * size


def torch_file() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", "x" * 1000)
    return packed.getvalue()


# ---- which are complete ----------------------------------------------------------------------------------------------


def test_a_file_at_rest_is_complete_and_a_growing_one_is_not(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": b"1", "b.bin": b"1"})
    assert complete_in(tmp_path, "a.bin", "b.bin") == ["a.bin", "b.bin"]
    assert complete_in(tmp_path, "a.bin", "b.bin", between=lambda: write(tmp_path, {"b.bin": b"12"})) == ["a.bin"]


def test_a_file_that_a_rename_replaces_or_removes_is_complete_with_its_own_bytes(tmp_path: Path) -> None:
    """A trainer that saves more often than a beat would otherwise never have a checkpoint at rest."""
    root = tmp_path / "job"
    write(root, {"a.ckpt": b"old", "b.ckpt": b"b"})
    [unit, _] = snapshot.units({"root": str(root)}, snapshot.rules(checkpoints.rules(("*.ckpt",), directory=".")))
    held = snapshot.HeldCheckpoint(unit, str(tmp_path / "held"))
    write(root, {"a.ckpt.tmp": b"newer"})
    (root / "a.ckpt.tmp").rename(root / "a.ckpt")
    (root / "b.ckpt").unlink()
    assert held.is_complete()
    assert (tmp_path / "held/root/a.ckpt").read_bytes() == b"old"
    held.drop()
    assert (root / "a.ckpt").read_bytes() == b"newer"


def test_a_file_that_no_link_can_hold_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    root = tmp_path / "job"
    write(root, {"a.ckpt": b"1", "b.ckpt": b"1"})
    assert complete_in(root, "*.ckpt", between=lambda: write(root, {"b.ckpt": b"12"})) == ["a.ckpt"]


def test_a_folder_is_complete_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path, {"step_5/a": b"1", "step_5/b": b"2"})
    assert complete_in(tmp_path, "step_5") == ["step_5"]
    assert complete_in(tmp_path, "step_5", between=lambda: write(tmp_path, {"step_5/c": b"3"})) == []
    assert complete_in(tmp_path, "step_5", between=(tmp_path / "step_5/c").unlink) == []
    assert complete_in(tmp_path, "step_5", between=lambda: shutil.rmtree(tmp_path / "step_5")) == []


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (("outputs/checkpoint-*",), ["outputs/checkpoint-1"]),
        (("outputs/**",), ["outputs/checkpoint-1", "outputs/last.pt"]),
        (("*.pt",), ["outputs/last.pt", "w/deep.pt"]),
        (("*.pt", "!w/**"), ["outputs/last.pt"]),
        (("**",), ["outputs", "w"]),
        (("w/",), ["w/deep.pt"]),
    ],
)
def test_a_glob_names_the_topmost_file_or_folder(tmp_path: Path, globs: tuple[str, ...], names: list[str]) -> None:
    root = tmp_path / "job"
    write(root, dict.fromkeys(["outputs/checkpoint-1/a", "outputs/last.pt", "w/deep.pt"], b"1"))
    assert complete_in(root, *globs) == names


INDEX = json.dumps({"weight_map": {"w": "model-1.safetensors", "v": "model-2.safetensors"}}).encode()
TORN = {
    "a torch file": {"x.pt": torch_file()[:-30]},
    "safetensors": {"x.safetensors": safetensors()[:-1]},
    "a header of safetensors": {"x.safetensors": safetensors()[:12]},
    "an impossible header": {"x.safetensors": b"\xff" * 100},
    "an empty file": {"x.bin": b""},
    "a trainer's folder": {"x/optimizer.pt": torch_file(), "x/model.safetensors": safetensors()},
    "a shard that lacks": {"x/model.safetensors.index.json": INDEX, "x/model-1.safetensors": safetensors()},
    "an index cut short": {"x/model.safetensors.index.json": INDEX[:20], "x/model-1.safetensors": safetensors()},
    "a distributed one": {"x/__0_0.distcp": b"1"},
    "a passing file in it": {"x/a": b"1", "x/b.tmp": b"2"},
}


@pytest.mark.parametrize("kind", TORN)
def test_a_torn_checkpoint_is_not_complete_even_at_rest(tmp_path: Path, kind: str) -> None:
    write(tmp_path, TORN[kind])
    assert complete_in(tmp_path, next(iter(TORN[kind])).partition("/")[0] + "*") == []


def test_whole_ones_of_each_format_are_complete(tmp_path: Path) -> None:
    whole = {
        "a.pt": torch_file(),
        "b.safetensors": safetensors(),
        "checkpoint-500/optimizer.pt": torch_file(),
        "checkpoint-500/model.safetensors": safetensors(),
        "checkpoint-500/trainer_state.json": b"{}",
        "d/model.safetensors.index.json": INDEX,
        "d/model-1.safetensors": safetensors(),
        "d/model-2.safetensors": safetensors(),
        "e/__0_0.distcp": b"1",
        "e/.metadata": b"1",
    }
    write(tmp_path, whole)
    names = sorted({name.partition("/")[0] for name in whole})
    assert complete_in(tmp_path, *names) == names


@pytest.mark.parametrize("name", ["tmp-checkpoint-500/a", ".hidden/a", "a.ckpt.part", "a.ckpt~", "a.tmp.4711"])
def test_a_passing_name_and_a_link_are_no_checkpoint(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: b"1"})
    (tmp_path / "link.ckpt").symlink_to("/etc/hostname")
    assert complete_in(tmp_path, name.partition("/")[0], "link.ckpt") == []


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-500", 500),
        ("epoch=3-step=1200.ckpt", 1200),
        ("global_step_40/zero", 40),
        ("model_0007.pth", 7),
        ("2026/ckpt-9.pt", 9),
        ("last.ckpt", -1),
    ],
)
def test_the_step_is_read_from_the_name(name: str, step: int) -> None:
    assert scan.step_of(name) == step


# ---- kills -----------------------------------------------------------------------------------------------------------


def content_of(step: int, dice: random.Random) -> dict[str, bytes]:
    return {
        f"checkpoint-{step}/{name}": dice.randbytes(dice.randint(1, 40)) for name in ("model", "optimizer", "state")
    }


def restored(store: Memory, into: Path, rank: int = 0) -> str:
    manifest = sync.restore(store, into=str(into), rank=rank)
    return manifest["name"] if manifest else ""


def store_all(store: Memory, root: Path, steps: Sequence[int], *, keep: int, done: list[int]) -> None:
    for step in steps:
        name = f"checkpoint-{step}"
        paths = [f"{name}/{part}" for part in ("model", "optimizer", "state")]
        part = sync.Part(folder=str(root), name=name, paths=paths, at=1000.0 + step)
        assert sync.upload(store, part, is_same=lambda: True)
        done.append(step)
        sync.prune(store, keep=keep)


@pytest.mark.parametrize("keep", [1, 3])
def test_after_a_kill_at_any_call_the_newest_stored_checkpoint_is_whole(tmp_path: Path, keep: int) -> None:
    dice = random.Random(keep)
    steps = [100, 200, 300, 400, 500]
    files = {step: content_of(step, dice) for step in steps}
    for content in files.values():
        write(tmp_path / "job", content)
    calm = Memory()
    store_all(calm, tmp_path / "job", steps, keep=keep, done=[])
    moments = calm.calls
    assert [one["step"] for one in sync.stored(calm)] == steps[::-1][:keep]
    assert len([key for key in calm.objects if key.startswith(sync.OBJECTS)]) == 3 * keep
    for ends_after in range(moments):
        store, done = Memory(), list[int]()
        store.ends_after = ends_after
        with pytest.raises(Killed):
            store_all(store, tmp_path / "job", steps, keep=keep, done=done)
        store.ends_after = 10**9
        into = tmp_path / f"{keep}-{ends_after}"
        name = restored(store, into)
        assert scan.step_of(name) >= max(done, default=-1), "no more than the one under way is lost"
        if name:
            expected = files[scan.step_of(name)]
            assert {path: (into / path).read_bytes() for path in expected} == expected
            assert len(list(into.rglob("*.tmp"))) == 0
        store_all(store, tmp_path / "job", [500], keep=keep, done=done)  # the run goes on
        assert len([key for key in store.objects if key.startswith(sync.OBJECTS)]) == 3 * len(sync.stored(store))


@pytest.mark.parametrize("seed", range(20))
def test_a_corrupt_or_absent_object_is_never_resumed_from(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    store = Memory()
    files = {step: content_of(step, dice) for step in (1, 2, 3)}
    for content in files.values():
        write(tmp_path / "job", content)
    store_all(store, tmp_path / "job", [1, 2, 3], keep=3, done=[])
    hurt = dice.sample([2, 3], dice.randint(1, 2))
    for manifest in sync.stored(store):
        if manifest["step"] in hurt:
            key = dice.choice(manifest["files"])["key"]
            way = dice.choice(["cut", "turned", "absent"])
            stored = store.objects.pop(key)
            if way != "absent":
                store.objects[key] = stored[:-1] if way == "cut" else bytes([stored[0] ^ 1]) + stored[1:]
    whole = max({1, 2, 3} - set(hurt))
    assert restored(store, tmp_path / "into") == f"checkpoint-{whole}"
    arrived = sorted(path.relative_to(tmp_path / "into") for path in (tmp_path / "into").rglob("*") if path.is_file())
    assert [str(path) for path in arrived] == sorted(files[whole])


def test_a_checkpoint_that_changes_during_its_upload_gets_no_manifest(tmp_path: Path) -> None:
    write(tmp_path, {"a.ckpt": b"1"})
    store = Memory()
    assert not sync.upload(store, sync.Part(str(tmp_path), "a.ckpt", ["a.ckpt"], 1.0), is_same=lambda: False)
    assert store.objects == {}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_shards_of_several_nodes_get_one_manifest_after_the_last(tmp_path: Path, order: Sequence[int]) -> None:
    store = Memory()
    for place, rank in enumerate(order):
        folder = tmp_path / str(rank)
        write(folder, {f"step_7/shard-{rank}": bytes([rank])})
        part = sync.Part(str(folder), "step_7", [f"step_7/shard-{rank}"], 1.0, rank, 3)
        assert sync.upload(store, part, is_same=lambda: True) is (place == 2)
        assert len(sync.stored(store)) == (place == 2)
        sync.prune(store, keep=1)
    assert restored(store, tmp_path / "into") == "step_7"
    assert [(tmp_path / f"into/step_7/shard-{rank}").read_bytes() for rank in range(3)] == [b"\0", b"\1", b"\2"]


def stored_part(store: Memory, folder: Path, content: bytes, **more: object) -> bool:
    name = str(more.pop("name", "step_7"))
    write(folder, {f"{name}/weights": content})
    part = sync.Part(str(folder), name, [f"{name}/weights"], 1.0, nodes=2)._replace(**more)  # type: ignore[arg-type]
    return sync.upload(store, part, is_same=lambda: True)


def test_parts_of_two_generations_of_machines_make_no_checkpoint(tmp_path: Path) -> None:
    store = Memory()
    assert not stored_part(store, tmp_path / "a", b"old", rank=0, generation=1)
    assert not stored_part(store, tmp_path / "b", b"new", rank=1, generation=2)
    assert stored_part(store, tmp_path / "a", b"new", rank=0, generation=2)


def test_nodes_that_write_one_path_get_their_own_file_back(tmp_path: Path) -> None:
    store = Memory()
    stored_part(store, tmp_path / "a", b"of 0", rank=0)
    assert stored_part(store, tmp_path / "b", b"of 1", rank=1)
    for rank, content in enumerate((b"of 0", b"of 1", b"of 0")):
        assert restored(store, tmp_path / f"into-{rank}", rank) == "step_7"
        assert (tmp_path / f"into-{rank}/step_7/weights").read_bytes() == content


def test_parts_of_a_name_without_a_step_make_no_checkpoint_unless_one_node_has_all(tmp_path: Path) -> None:
    """Each node may have replaced its own part at another moment."""
    store = Memory()
    assert not stored_part(store, tmp_path / "a", b"0", name="last", rank=0)
    assert not stored_part(store, tmp_path / "b", b"1", name="last", rank=1)
    assert sync.stored(store) == []
    assert sync.waiting_parts(store, generation=1, rank=1) == []
    alone = Memory()
    stored_part(alone, tmp_path / "a", b"0", name="last", rank=0)
    [waiting] = sync.waiting_parts(alone, generation=1, rank=1)
    sync.declare_absent(alone, sync.Part("", waiting["name"], (), 1.0, rank=1, nodes=2))
    assert restored(alone, tmp_path / "into") == "last"


def test_a_node_removes_no_object_of_another_node_in_the_middle_of_its_upload(tmp_path: Path) -> None:
    store = Memory()
    store.put(f"objects/1-{'0' * 16}/0", b"under way")
    store.put(f"objects/0-{'0' * 16}/0", b"left by a kill")
    sync.prune(store, keep=1, rank=0)
    assert list(store.objects) == [f"objects/1-{'0' * 16}/0"]


def test_a_checkpoint_with_files_outside_of_its_name_replaces_nothing(tmp_path: Path) -> None:
    """Another run may have written it: its files must not become the job's code."""
    store = Memory()
    write(tmp_path / "job", {"a.ckpt": b"1", "train.py": b"evil"})
    part = sync.Part(str(tmp_path / "job"), "a.ckpt", ["a.ckpt", "train.py"], 1.0)
    assert sync.upload(store, part, is_same=lambda: True)
    assert restored(store, tmp_path / "into") == ""
    assert sync.upload(store, part._replace(name="train.py", paths=["train.py"]), is_same=lambda: True)
    assert sync.restore(store, into=str(tmp_path / "into"), is_wanted=lambda name: name != "train.py") is None


ESCAPES = ["../../x", "/etc/x", "a/../../x", "", "a\0b"]


@pytest.mark.parametrize("path", ESCAPES)
def test_a_hostile_manifest_writes_nothing_elsewhere(tmp_path: Path, path: str) -> None:
    store = Memory()
    entry = {"path": path, "key": f"objects/0-{'0' * 16}/0", "size": 1, "sha256": "x", "rank": 0}
    store.objects["manifests/x"] = json.dumps({"name": "x", "step": 1, "at": 1.0, "files": [entry]}).encode()
    for number, content in enumerate((b"", b"[]", b"{", b'{"name": 1}', b"[" * 100_000)):
        store.objects[f"manifests/{number}"] = content
    assert sync.stored(store) == []
    assert restored(store, tmp_path / "into") == ""
    assert not os.path.lexists(tmp_path / "into")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def node(store: Memory, folder: Path, clock: Clock, rank: int, said: list[str]) -> rounds.Rounds:
    (folder / "job").mkdir(parents=True, exist_ok=True)
    request = rounds.Request(
        bases={"root": str(folder / "job")},
        rules=snapshot.rules(checkpoints.rules(("*.ckpt",), directory=".")),
        scratch=str(folder / "held"),
        rank=rank,
        nodes=2,
    )
    return rounds.Rounds(request, store, say=said.append, clock=clock, sleep=clock.sleep)


def test_a_checkpoint_of_the_first_node_alone_is_whole_after_the_other_node_has_had_time_to_write_its_part(
    tmp_path: Path,
) -> None:
    store, clock, said = Memory(), Clock(), list[str]()
    first, second = (node(store, tmp_path / str(rank), clock, rank, said) for rank in (0, 1))
    write(tmp_path / "0/job", {"last.ckpt": b"weights"})
    assert first.round() and second.round()
    assert sync.stored(store) == [], "the second node may still be writing its part"
    clock.sleep(rounds.ABSENT_SECONDS)
    assert second.answer_others()
    assert [one["name"] for one in sync.stored(store)] == ["root/last.ckpt"]


def test_a_bucket_that_is_away_stops_nothing_and_the_next_round_stores_the_checkpoint(tmp_path: Path) -> None:
    store, clock, said = Memory(), Clock(), list[str]()
    one = node(store, tmp_path, clock, 0, said)
    one.request = one.request._replace(nodes=1)
    write(tmp_path / "job", {"last.ckpt": b"weights"})

    def away(*_: object) -> None:
        raise sync.NoAnswer("503 SlowDown")

    real = store.put_file
    store.put_file = away  # type: ignore[method-assign, assignment]
    assert not one.round() and "could not be stored now" in said[0]
    store.put_file = real  # type: ignore[method-assign]
    assert one.round() and not one.is_behind
    assert restored(store, tmp_path / "into") == "root/last.ckpt"
    assert not any((tmp_path / "held").iterdir())


@pytest.mark.parametrize(("seconds", "starts"), [(7.0, [30, 60, 90]), (28.0, [30, 63, 96])])
def test_rounds_begin_an_interval_apart_however_long_one_takes(
    tmp_path: Path, seconds: float, starts: list[int]
) -> None:
    """The job has five seconds between two rounds in any case."""
    store, clock, said, seen = Memory(), Clock(), list[str](), list[int]()
    one = node(store, tmp_path, clock, 0, said)
    one.request = one.request._replace(nodes=1, interval=30.0)
    begin = clock.now

    def beat(_: float) -> None:
        seen.append(int(clock.now - begin))
        clock.sleep(seconds)

    def pause() -> None:
        clock.sleep(0.5)
        write(tmp_path / "job", {"last.ckpt": f"{clock.now}".encode()})

    one._sleep = beat
    events = rounds.Watch(is_over=lambda: len(seen) == 3, has_notice=lambda: False, pause=pause)
    rounds.until_over(one, events, clock=clock)
    assert all(abs(found - wanted) <= 1 for found, wanted in zip(seen, starts, strict=False)), seen


def test_a_checkpoint_that_the_job_is_writing_is_stored_soon_and_not_an_interval_later(tmp_path: Path) -> None:
    store, clock, said = Memory(), Clock(), list[str]()
    one = node(store, tmp_path, clock, 0, said)
    one.request = one.request._replace(nodes=1, interval=300.0)
    write(tmp_path / "job", {"last.ckpt": b"1"})
    beats: list[float] = []

    def beat(seconds: float) -> None:
        clock.sleep(seconds)
        beats.append(clock.now)
        if len(beats) == 1:
            write(tmp_path / "job", {"last.ckpt": b"12"})

    one._sleep = beat
    events = rounds.Watch(is_over=lambda: clock.now > 1320, has_notice=lambda: False, pause=lambda: clock.sleep(0.5))
    rounds.until_over(one, events, clock=clock)
    [manifest] = sync.stored(store)
    assert manifest["reason"] == rounds.REGULAR and 1300 < manifest["at"] < 1310
