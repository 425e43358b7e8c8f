"""The state of GPUs in the driver's words: `nvidia-smi -q -x` and the kernel's log. For the machine's own Python."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from . import sheet
from .findings import BROKEN, NOTE, SLOW, UNKNOWN, Findings

if TYPE_CHECKING:
    Run = Callable[[Sequence[str]], tuple[int | None, str]]

SECONDS = 9.0
"""Without a daemon that keeps the driver loaded, the first question initialises each GPU."""
MOST_BYTES = 4 << 20

SLOWDOWNS = {
    "hw_slowdown": "the hardware slows it down",
    "hw_thermal_slowdown": "it is too hot",
    "hw_power_brake_slowdown": "its power supply brakes it",
    "sw_thermal_slowdown": "the driver slows it down, because it is hot",
}
"""The reasons that a healthy GPU does not have: docs.nvidia.com/deploy/nvml-api, nvmlClocksEventReasons."""
DEAD_CODES = frozenset({6, 8, 9, 10, 14, 15, 18})
"""Exit codes for a GPU or driver that does not work: nvidia-smi(1), RETURN VALUE. 18 is a driver of another version.

A machine whose job needs no GPU is not broken by them.
"""
FATAL_XIDS = {
    48: "double-bit ECC error",
    64: "a row could not be remapped",
    79: "it fell off the bus",
    95: "uncontained memory error",
    119: "its system processor timed out",
    120: "its system processor failed",
    140: "uncorrected ECC error",
}
"""Errors after which the GPU needs a reset or a repair: docs.nvidia.com/deploy/xid-errors, "Xid Catalog"."""
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9A-Fa-f:.]+)\): (\d{1,4})")


def run(words: Sequence[str]) -> tuple[int | None, str]:
    """Return exit code and output of a program; no code without an end in time or without the program."""
    try:
        result = subprocess.run(
            list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            timeout=SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    return result.returncode, result.stdout[:MOST_BYTES].decode("utf-8", "replace")


def probe(findings: Findings, *, requested: str, is_first: bool, ask: Run | None = None) -> None:
    """Add everything that the driver says against its GPUs, and the figures of each GPU."""
    ask = ask or run
    code, text = ask(["nvidia-smi", "-q", "-x"])
    root = _parsed(text)
    if root is None or code:
        words = " ".join(text.split())[:120]
        if code is None:
            findings.add(UNKNOWN, "nvidia-smi is not there, or did not answer in time")
        elif code:
            is_dead = bool(requested) and code in DEAD_CODES
            findings.add(BROKEN if is_dead else UNKNOWN, f"nvidia-smi failed with code {code}: {words}")
        else:
            findings.add(UNKNOWN, f"nvidia-smi answered in a form that cvl-ci cannot read: {words}")
        return
    findings.driver = _text(root, "driver_version")
    gpus = root.findall("gpu")
    for number, gpu in enumerate(gpus):
        findings.gpus.append(_figures(gpu))
        for kind, words in _complaints(gpu, is_first=is_first):
            findings.add(kind, f"GPU {number}: {words}")
    wrong = sheet.expectation(requested, [_text(gpu, "product_name") for gpu in gpus])
    if wrong:
        findings.add(BROKEN, wrong)
    _kernel(findings, ask, places={place for gpu in gpus if (place := _place(gpu.get("id", "")))})


def _figures(gpu: ET.Element) -> dict[str, Any]:
    reasons = _reasons(gpu)
    return {
        "uuid": _text(gpu, "uuid"),
        "name": _text(gpu, "product_name"),
        "temperature_c": _number(gpu, "temperature/gpu_temp"),
        "clock_mhz": _number(gpu, "clocks/sm_clock"),
        "most_clock_mhz": _number(gpu, "max_clocks/sm_clock"),
        "throttled": sorted(reasons - {"gpu_idle"}),
    }


def _complaints(gpu: ET.Element, *, is_first: bool) -> Sequence[tuple[str, str]]:
    findings = [(SLOW, SLOWDOWNS[name]) for name in sorted(_reasons(gpu) & set(SLOWDOWNS))]
    findings += [(BROKEN, words) for words in _damages(gpu)]
    if not _text(gpu, "uuid"):
        findings.append((UNKNOWN, "it has no uuid"))
    if is_first:
        programs = [one for one in gpu.findall("processes/process_info") if _text(one, "type") != "G"]  # a display
        names = [_text(one, "process_name") or "without a name" for one in programs]
        findings += [(SLOW, f"another process uses it: {name}") for name in names]
    return findings


def _damages(gpu: ET.Element) -> Sequence[str]:
    """Return what needs a reset or a repair."""
    uncorrected = _uncorrected(gpu)
    action = _text(gpu, "gpu_recovery_action") or _text(gpu, "gpu_reset_status/reset_required")
    pages = {_text(gpu, f"retired_pages/pending_{name}") for name in ("retirement", "blacklist")}
    facts = {
        f"{uncorrected} uncorrected ECC errors since the driver was loaded": uncorrected > 0,
        "a row of its memory could not be remapped": _text(gpu, "remapped_rows/remapped_row_failure") == "Yes",
        "a row of its memory waits for a reset": _text(gpu, "remapped_rows/remapped_row_pending") == "Yes",
        "a page of its memory waits for a reset": "Yes" in pages,
        f"the driver asks for a repair: {action}": action not in {"", "None", "No", "N/A"},
    }
    return [words for words, is_so in facts.items() if is_so]


def _uncorrected(gpu: ET.Element) -> int:
    """Return the errors since the driver was loaded: of memory and caches. Volta and older name them otherwise."""
    volatile = gpu.find("ecc_errors/volatile")
    if volatile is None:
        return 0
    count = 0
    for element in volatile:
        if element.tag == "double_bit":
            count += int(_number(element, "total") or 0)
        elif "uncorrectable" in element.tag:
            count += int(_leading_number(element.text) or 0)
    return count


def _reasons(gpu: ET.Element) -> set[str]:
    """Return the active reasons. Drivers before 535 call them throttle reasons."""
    names = set()
    for kind in ("clocks_event_reason", "clocks_throttle_reason"):
        for element in gpu.findall(f"{kind}s/*"):
            if (element.text or "").strip() == "Active":
                names.add(element.tag[len(kind) + 1 :])
    return names


def _kernel(findings: Findings, ask: Run, *, places: set[str]) -> None:
    """Read the kernel's log for the driver's errors since boot. Many machines show it to root alone.

    `places`: those of the GPUs here on the bus. A container may see the log of a host with other GPUs.
    """
    for words in (["dmesg"], ["sudo", "-n", "dmesg"]):
        code, text = ask(words)
        if code == 0:
            break
    else:
        findings.add(NOTE, "the kernel's log cannot be read, so errors of the driver (Xid) are not known")
        return
    counts: dict[int, int] = {}
    for match in _XID.finditer(text):
        if _place(match[1]) not in places:
            continue
        counts[int(match[2])] = counts.get(int(match[2]), 0) + 1
    for number, count in sorted(counts.items()):
        meaning = FATAL_XIDS.get(number)
        words_of = f"Xid {number}, {count} times since boot"
        findings.add(BROKEN if meaning else NOTE, f"{words_of}: {meaning}" if meaning else words_of)


def _place(address: str) -> str:
    """Return domain, bus and device of `00000000:31:00.0` or `0000:31:00`; empty for another form."""
    match = re.match(r"([0-9A-Fa-f]{4,8}):([0-9A-Fa-f]{2}):([0-9A-Fa-f]{2})", address)
    return f"{int(match[1], 16):x}:{match[2]}:{match[3]}".lower() if match else ""


def _parsed(text: str) -> ET.Element | None:
    start = text.find("<?xml")
    try:
        root = ET.fromstring(text[start:]) if start >= 0 else None
    except ET.ParseError:
        return None
    is_answer = root is not None and root.tag == "nvidia_smi_log" and root.find("driver_version") is not None
    return root if is_answer else None


def _text(element: ET.Element, path: str) -> str:
    return " ".join((element.findtext(path) or "").split())[:80]


def _number(element: ET.Element, path: str) -> float | None:
    return _leading_number(element.findtext(path))


def _leading_number(text: str | None) -> float | None:
    """Return the number of `45 C` or `1590 MHz`; None for `N/A`."""
    match = re.match(r"\s*(\d{1,9}(?:\.\d{1,3})?)(?:\s|$)", text or "")
    return float(match[1]) if match else None
