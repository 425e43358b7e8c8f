"""Disk, memory and clock of a machine: steps of under a second. A program for the machine's own Python."""

from __future__ import annotations

import contextlib
import glob
import os
import time
from collections.abc import Mapping

from .findings import BROKEN, SLOW, UNKNOWN, Findings

BLOCK = 1 << 20
DISK_BLOCKS, MEMORY_BLOCKS = 16, 64
COPIES = 3
"""The best of them counts: the first one waits for the kernel's pages, and another program may disturb one."""
LEAST_FREE = 1 << 30
LEAST_DISK_MBS = 10.0
"""The slowest disk that the clouds sell for machines writes 60 MB/s: learn.microsoft.com, "Standard HDD"."""
LEAST_MEMORY_GBS = 0.5
"""One channel of DDR3-1066 has 8.5 GB/s."""
LARGEST_STEP = 1.0
ERRORS = "/sys/devices/system/edac/mc/mc*/ue_count"
"""Errors of memory that its code could not correct: kernel.org, admin-guide/ras."""


def probe(
    findings: Findings, *, folder: str, earlier: Mapping[str, object] | None = None, is_further: bool = False
) -> None:
    """Run each step. `earlier`: the figures of the first probe, by which the clock is judged.

    `is_further`: an earlier job of this machine has measured its speeds. They cost this job a second, and stay as they
    were.
    """
    steps = (_free_disk, _memory_errors, _clock) if is_further else (_free_disk, _disk, _memory, _memory_errors, _clock)
    for step in steps:
        try:
            step(findings, folder, earlier or {})
        except Exception as error:  # noqa: BLE001  a step that fails says nothing about the machine
            findings.add(UNKNOWN, f"a step of the probe failed: {type(error).__name__}: {error}")


def _free_disk(findings: Findings, folder: str, _earlier: Mapping[str, object]) -> None:
    free = _free_bytes(folder)
    findings.host["disk_free_gb"] = round(free / 1e9, 1)
    if free < LEAST_FREE:
        findings.add(BROKEN, f"the disk has {free >> 20} MiB left")


def _free_bytes(folder: str) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _disk(findings: Findings, folder: str, _earlier: Mapping[str, object]) -> None:
    if _free_bytes(folder) < LEAST_FREE:
        return
    path = os.path.join(folder, "disk-probe")
    start = time.monotonic()
    try:
        with open(path, "wb", buffering=0) as file:
            block = os.urandom(BLOCK)
            file.writelines(block for _ in range(DISK_BLOCKS))
            os.fsync(file.fileno())
    except OSError as error:
        findings.add(BROKEN, f"the disk cannot be written: {error.strerror}")
        return
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
    rate = DISK_BLOCKS * BLOCK / 1e6 / max(time.monotonic() - start, 1e-6)
    findings.host["disk_mbs"] = round(rate, 1)
    if rate < LEAST_DISK_MBS:
        findings.add(SLOW, f"the disk writes {rate:.1f} MB/s")


def _memory(findings: Findings, _folder: str, _earlier: Mapping[str, object]) -> None:
    block = bytearray(MEMORY_BLOCKS * BLOCK)
    target, rate = bytearray(len(block)), 0.0
    for _ in range(COPIES):
        start = time.monotonic()
        target[:] = block
        rate = max(rate, len(block) / 1e9 / max(time.monotonic() - start, 1e-6))
    findings.host["memory_gbs"] = round(rate, 1)
    if rate < LEAST_MEMORY_GBS:
        findings.add(SLOW, f"memory is copied at {rate:.2f} GB/s")


def _memory_errors(findings: Findings, _folder: str, _earlier: Mapping[str, object]) -> None:
    count = 0
    for path in glob.glob(ERRORS):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            count += int(file.read())
    if count:
        findings.add(BROKEN, f"memory had {count} errors that its code could not correct")


def _clock(findings: Findings, _folder: str, earlier: Mapping[str, object]) -> None:
    """Compare the clock on the wall with the time since boot. NTP slows both alike, so a difference is a step."""
    offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    findings.host["clock_offset"] = round(offset, 3)
    before = earlier.get("clock_offset")
    if isinstance(before, (int, float)) and abs(offset - before) > LARGEST_STEP:
        findings.add(UNKNOWN, f"the clock stepped by {offset - before:+.1f} s during the job, so its times mean little")
