"""The probe of a machine: each kind of bad GPU in the driver's real form, and the driver's library as an object."""

from __future__ import annotations

import ctypes
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine.machine.fitness import cuda, host, main, nvidia, sheet
from cvl_ci.engine.machine.fitness.findings import Findings
from tests import golden

MESSAGES = golden.Messages(__name__)

SHAPES = Path(__file__).parent / "nvidia_smi"
L4, V100 = ((SHAPES / f"{name}.xml").read_text() for name in ("l4", "v100"))
UUID = "GPU-4a31c0de-1111-2222-3333-444455556666"
QUIET = (0, "[    0.000000] Linux version 6.8.0\n[   12.3] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15\n")


def probed(
    text: str, *, code: int | None = 0, asked: str = "L4:1", kernel: tuple[int | None, str] = QUIET, first: bool = True
) -> Findings:
    found = Findings()

    def run(words: Sequence[str]) -> tuple[int | None, str]:
        return (code, text) if words[0] == "nvidia-smi" else kernel

    nvidia.probe(found, requested=asked, is_first=first, ask=run)
    return found


def turned(text: str, tag: str, value: str) -> str:
    """Return the answer with another value of this element. Fail where the driver's answer has no such element."""
    head, rest = text.split(f"<{tag}>", 1)
    return f"{head}<{tag}>{value}</{tag}>{rest.split(f'</{tag}>', 1)[1]}"


PROCESS = """<processes><process_info><pid>812</pid><type>C</type><process_name>/opt/miner</process_name>
<used_memory>9000 MiB</used_memory></process_info>"""
XID = "[ 100.1] NVRM: Xid (PCI:0000:31:00): {}, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n"
BAD: Mapping[str, tuple[Findings, str, str]] = {
    "two asked, one there": (probed(L4, asked="L4:2"), "broken", "asked for L4:2, and the machine shows 1 x NVIDIA L4"),
    "another model": (probed(L4, asked="L40S:1"), "broken", "asked for L40S:1, and the machine shows 1 x NVIDIA L4"),
    "of several models": (probed(L4, asked="A100-80GB:1,H100:1"), "broken", "shows 1 x NVIDIA L4"),
    "memory": (probed(turned(L4, "dram_uncorrectable", "2")), "broken", "2 uncorrected ECC errors"),
    "cache": (probed(turned(L4, "sram_uncorrectable_parity", "1")), "broken", "1 uncorrected ECC error"),
    "memory of Volta": (
        probed(
            V100.replace("<total>0</total>\n\t\t\t\t</double_bit>", "<total>3</total></double_bit>"), asked="V100:1"
        ),
        "broken",
        "3 uncorrected ECC errors",
    ),
    "row failed": (probed(turned(L4, "remapped_row_failure", "Yes")), "broken", "could not be remapped"),
    "row waits": (probed(turned(L4, "remapped_row_pending", "Yes")), "broken", "a row of its memory waits for a reset"),
    "page waits": (probed(turned(V100, "pending_retirement", "Yes"), asked="V100:1"), "broken", "a page of its memory"),
    "reset": (probed(turned(L4, "reset_required", "Yes")), "broken", "the driver asks for a repair: Yes"),
    "xid 79": (probed(L4, kernel=(0, XID.format(79))), "broken", "Xid 79, 1 times since boot: it fell off the bus"),
    "xid 48 twice": (probed(L4, kernel=(0, XID.format(48) * 2)), "broken", "Xid 48, 2 times"),
    "hot": (probed(turned(L4, "clocks_event_reason_hw_thermal_slowdown", "Active")), "slow", "GPU 0: it is too hot"),
    "brake": (probed(turned(L4, "clocks_event_reason_hw_power_brake_slowdown", "Active")), "slow", "power supply"),
    "old words": (
        probed(turned(V100, "clocks_throttle_reason_hw_slowdown", "Active"), asked="V100:1"),
        "slow",
        "the hardware slows it down",
    ),
    "in use": (probed(L4.replace("<processes>", PROCESS)), "slow", "another process uses it: /opt/miner"),
    "no driver": (
        probed("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", code=9),
        "broken",
        "failed with code 9: NVIDIA-SMI has failed",
    ),
    "mismatch": (probed("Failed to initialize NVML: Driver/library version mismatch", code=18), "broken", "code 18"),
    "lost": (
        probed("Unable to determine the device handle for GPU0000:31:00.0: GPU is lost.  Reboot the system", code=15),
        "broken",
        "GPU is lost",
    ),
    "none": (probed("No devices were found\n", code=6), "broken", "No devices were found"),
    "hangs or is not there": (probed("", code=None), "unknown", "did not answer in time"),
    "cut": (probed(L4[:900]), "unknown", "cannot read"),
    "a form of its own": (probed("15, 23034, 0, 550.54.15, NVIDIA L4\n"), "unknown", "cannot read"),
    "an empty answer": (probed('<?xml version="1.0" ?><nvidia_smi_log></nvidia_smi_log>'), "unknown", "cannot read"),
    "no uuid": (probed(turned(L4, "uuid", "")), "unknown", "it has no uuid"),
}


@pytest.mark.parametrize("kind", BAD)
def test_each_bad_kind_has_its_verdict_and_its_words(kind: str) -> None:
    found, verdict, words = BAD[kind]
    assert found.verdict == verdict
    assert words in "\n".join(text for _, text in found.items)


@pytest.mark.parametrize(
    ("text", "asked", "kernel"),
    [(L4, "L4:1", QUIET), (V100, "V100:1", QUIET), (L4, "", QUIET), (L4, "T4:1,L4:1", QUIET), (L4, "L4:1", (1, "no"))],
)
def test_a_fit_machine_is_healthy(text: str, asked: str, kernel: tuple[int | None, str]) -> None:
    found = probed(text, asked=asked, kernel=kernel)
    assert found.verdict == "healthy"
    assert [kind for kind, _ in found.items] == (["note"] if kernel[0] else [])
    [gpu] = found.gpus
    assert gpu["uuid"].startswith("GPU-")
    assert gpu["temperature_c"] in {38.0, 34.0}


def test_the_job_s_own_errors_and_processes_do_not_speak_against_a_machine() -> None:
    found = probed(L4.replace("<processes>", PROCESS), kernel=(0, XID.format(31)), first=False)
    assert found.verdict == "healthy"
    assert found.items == [("note", "Xid 31, 1 times since boot")]


def test_errors_of_another_gpu_of_the_host_do_not_count() -> None:
    assert probed(L4, kernel=(0, XID.format(79).replace("0000:31:00", "0000:b1:00"))).verdict == "healthy"


def test_a_job_without_gpus_needs_no_driver_and_a_code_of_another_kind_proves_nothing() -> None:
    refused = "NVIDIA-SMI has failed because it couldn't"
    assert probed(refused, code=9, asked="").verdict == "unknown"
    assert probed("Insufficient Permissions", code=4).verdict == "unknown"


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("A100-80GB", "NVIDIA A100-SXM4-80GB"),
        ("H100", "NVIDIA H100 80GB HBM3"),
        ("RTX4090", "NVIDIA GeForce RTX 4090"),
        ("V100-32GB", "Tesla V100-SXM2-32GB"),
        ("A10G", "NVIDIA A10G"),
        ("GH200", "NVIDIA GH200 480GB"),
        ("RTX6000-Ada", "NVIDIA RTX 6000 Ada Generation"),
    ],
)
def test_a_vendor_s_name_is_known_by_skypilot_s(asked: str, name: str) -> None:
    assert sheet.expectation(f"{asked}:8", [name] * 8) is None
    assert sheet.expectation(f"{asked}:8", [name] * 7) is not None


def test_a_gpu_far_below_its_sheet_is_slow_and_one_near_it_is_not() -> None:
    slow = {"name": "NVIDIA L4", "tflops": 24.0, "to_gbs": 2.0, "from_gbs": 13.0}
    MESSAGES.check("a slow GPU", sheet.too_slow(slow, capability=8))
    assert sheet.too_slow({"name": "NVIDIA L4", "tflops": 80.0, "to_gbs": 12.0, "from_gbs": 13.0}, capability=8) == []
    assert sheet.too_slow({"name": "NVIDIA X1", "tflops": 1.0}, capability=8) == []


# ---- the library of the driver ---------------------------------------------------------------------------------------


class Library:
    """The calls of libcuda.so.1 that the probe makes, with memory of this process. `codes`: answers other than 0.

    A list of codes is used up by the calls, one after the other.
    """

    def __init__(self, *, gpus: int = 1, codes: Mapping[str, list[int]] | None = None, wrong: str = "") -> None:
        self.gpus, self.codes, self.wrong = gpus, {name: list(some) for name, some in (codes or {}).items()}, wrong
        self.calls: list[str] = []
        self.blocks: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            codes = self.codes.get(name)
            if codes and (code := codes.pop(0)):
                return code
            action = getattr(self, f"_{name.removeprefix('cu').removesuffix('_v2').lower()}", None)
            if action is not None:
                action(*arguments)
            return 0

        return call

    def _devicegetcount(self, count: Any) -> None:
        count._obj.value = self.gpus

    def _deviceget(self, device: Any, number: Any) -> None:
        device._obj.value = number.value

    def _devicegetuuid(self, into: Any, device: Any) -> None:
        ctypes.memmove(into, bytes.fromhex(UUID[4:].replace("-", "")), 16)

    def _devicegetattribute(self, into: Any, attribute: Any, device: Any) -> None:
        into._obj.value = {cuda.MAJOR: 8, cuda.PROCESSORS: 2}[attribute.value]

    def _memalloc(self, into: Any, size: Any) -> None:
        block = ctypes.create_string_buffer(size.value)
        into._obj.value = ctypes.addressof(block)
        self.blocks[into._obj.value] = block

    _memallochost = _memalloc

    def _launchkernel(self, function: Any, blocks: Any, *rest: Any) -> None:
        arguments = rest[-2]
        address = ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_uint64))[0]
        rounds = ctypes.cast(arguments[1], ctypes.POINTER(ctypes.c_uint))[0]
        content = struct.pack("<f", 512.0 * rounds) * (blocks.value * rest[2].value)
        ctypes.memmove(address, content, len(content))

    def _memcpyhtod(self, to: Any, source: Any, size: Any) -> None:
        ctypes.memmove(to.value, source, size.value)

    def _memcpydtoh(self, to: Any, source: Any, size: Any) -> None:
        ctypes.memmove(to, source.value, size.value)
        if self.wrong == "product" and size.value < cuda.COPY_BYTES:
            ctypes.memset(to, 1, 1)
        if self.wrong == "copy" and size.value == cuda.COPY_BYTES:
            ctypes.memset(to.value + size.value - 1, 7, 1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "MULTIPLY_SECONDS", 0.02)
    monkeypatch.setattr(cuda, "WARM_SECONDS", 0.0)
    monkeypatch.setattr(cuda, "COPY_BYTES", 4 << 20)


def with_measurements(library: Library) -> Findings:
    found = probed(L4)
    try:
        measured = cuda.measure(library)
    except cuda.DriverError as error:
        measured = [{"error": str(error), "code": main.BROKEN_INIT}]
    main.add_measurements(found, measured)
    return found


def test_what_a_gpu_did_is_added_to_it() -> None:
    found = with_measurements(Library())
    [gpu] = found.gpus
    assert gpu["tflops"] > 0 and gpu["to_gbs"] > 0 and gpu["from_gbs"] > 0


def test_a_driver_that_fails_twice_is_asked_a_third_time() -> None:
    library = Library(codes={"cuInit": [999, 999, 0]})
    assert "error" not in cuda.measure(library)[0]
    assert library.calls.count("cuInit") == 3


SICK: Mapping[str, tuple[Library, str, str]] = {
    "not initialised": (Library(codes={"cuInit": [999] * 3}), "broken", "cuInit failed with code 999"),
    "memory error": (Library(codes={"cuCtxSynchronize": [214]}), "broken", "an uncorrected ECC error"),
    "launch failed": (Library(codes={"cuCtxSynchronize": [719]}), "broken", "code 719"),
    "kernel of another kind": (Library(codes={"cuModuleLoadData": [209]}), "unknown", "cuModuleLoadData failed"),
    "memory taken": (Library(codes={"cuMemAlloc_v2": [2]}), "unknown", "cuMemAlloc_v2 failed with code 2"),
    "wrong product": (Library(wrong="product"), "broken", "it multiplies wrongly"),
    "wrong copy": (Library(wrong="copy"), "broken", "it copies wrongly"),
    "no context": (Library(codes={"cuDeviceGetUuid": [46]}), "broken", "could not be used"),
    "fewer than nvidia-smi shows": (Library(gpus=0), "unknown", "CUDA lacks it"),
}


@pytest.mark.parametrize("kind", SICK)
def test_each_sick_driver_has_its_verdict(kind: str) -> None:
    library, verdict, words = SICK[kind]
    found = with_measurements(library)
    assert (found.verdict, any(words in text for _, text in found.items)) == (verdict, True), found.items


def test_without_an_answer_of_the_library_a_gpu_is_unknown() -> None:
    found = probed(L4)
    main.add_measurements(found, None)
    assert found.verdict == "unknown"


def test_a_computer_without_the_library_gives_no_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(OSError, match=r"libcuda\.so\.1"):
        cuda.measure()
    main.print_measurements()


# ---- the host -------------------------------------------------------------------------------------------------------


def test_disk_memory_and_clock_of_this_computer_are_measured(tmp_path: Path) -> None:
    found = Findings()
    host.probe(found, folder=str(tmp_path))
    assert found.host["disk_mbs"] > 0 and found.host["memory_gbs"] > 0
    assert [kind for kind, _ in found.items if kind in {"broken", "unknown"}] == []
    assert not (tmp_path / "disk-probe").exists()


def test_before_a_further_job_the_disk_is_not_written_and_all_else_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main.main(str(tmp_path), "further", "")
    told = json.loads((tmp_path / "fitness-before").read_text())
    assert told["verdict"] == "healthy" and set(told["host"]) == {"disk_free_gb", "clock_offset"}
    count = tmp_path / "ue_count"
    count.write_text("2\n")
    monkeypatch.setattr(host, "ERRORS", str(count))
    monkeypatch.setattr(host, "LEAST_FREE", 1 << 60)
    main.main(str(tmp_path), "further", "")
    told = json.loads((tmp_path / "fitness-before").read_text())
    assert told["verdict"] == "broken" and len(told["findings"]) == 2
    assert (tmp_path / "unfit").exists()


def test_a_full_disk_a_broken_one_and_lost_memory_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = tmp_path / "ue_count"
    count.write_text("2\n")
    monkeypatch.setattr(host, "ERRORS", str(count))
    monkeypatch.setattr(host, "LEAST_FREE", 1 << 60)
    found = Findings()
    host.probe(found, folder=str(tmp_path))
    assert found.verdict == "broken"
    assert {text.split()[0] for kind, text in found.items if kind == "broken"} == {"the", "memory"}
    found = Findings()
    host.probe(found, folder="/proc/self")
    assert found.verdict in {"broken", "unknown"}


def test_a_clock_that_stepped_is_told(tmp_path: Path) -> None:
    first, second = Findings(), Findings()
    host.probe(first, folder=str(tmp_path))
    host.probe(second, folder=str(tmp_path), earlier=first.host)
    assert not [text for _, text in second.items if "clock" in text]
    third = Findings()
    host.probe(third, folder=str(tmp_path), earlier={"clock_offset": first.host["clock_offset"] - 7})
    unknown = [text for verdict, text in third.items if verdict == "unknown"]
    MESSAGES.check("a clock that stepped", golden.line(unknown, "clock"))


def test_the_answer_is_one_short_line_and_a_broken_machine_leaves_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia, "run", lambda _: (9, "x" * 5000))
    main.main(str(tmp_path), "before", "L4:1")
    text = (tmp_path / "fitness-before").read_text()
    assert text.count("\n") == 1
    assert json.loads(text)["verdict"] == "broken"
    assert (tmp_path / "unfit").exists()
    (tmp_path / "unfit").unlink()
    main.main(str(tmp_path), "after", "L4:1")
    assert not (tmp_path / "unfit").exists()
