"""Multiply on each GPU for two seconds, check the product, and copy to and from it: the CUDA driver API through ctypes.

It needs the driver alone: no toolkit, no library of a framework. main.py runs it as a process, because a call into a
sick driver may never come back.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
import threading
import time
from typing import Any

INIT_TRIES = 3
"""On one cloud the first initialisation of a L4 fails in 0.1 % of all starts."""
MULTIPLY_SECONDS, WARM_SECONDS = 2.0, 0.4
COPY_BYTES, COPIES = 256 << 20, 3
ROUNDS, BATCH = 4096, 20
"""512 × ROUNDS is the sum of a thread, which a float holds exactly below 2^24."""
THREADS, BLOCKS_PER_PROCESSOR = 256, 4
SUMS, FLOPS = 4, 2 * 16 * 16 * 16
"""Independent products of a warp in each round, and operations of one of them."""
PROCESSORS, MAJOR, ECC_ERROR = 16, 75, 214
"""CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, ..._COMPUTE_CAPABILITY_MAJOR, CUDA_ERROR_ECC_UNCORRECTABLE: cuda.h."""
LEAST_MAJOR = 7
"""The first GPUs with tensor cores. `wmma` needs them: PTX ISA, "Warp-level matrix instructions"."""


class DriverError(Exception):
    """A call that the driver refused. `code`: its number."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} failed with code {code}")
        self.code = code


def ptx() -> str:
    """Return the kernel. Each warp adds products of matrices of ones, so each sum is known to the last digit."""
    count = 8 * SUMS
    ones = "{" + ", ".join(["%one"] * 8) + "}"
    lines = [
        ".version 6.4",
        ".target sm_70",
        ".address_size 64",
        ".visible .entry multiply(.param .u64 into, .param .u32 rounds)",
        "{",
        f".reg .pred %more; .reg .b32 %one; .reg .f32 %c<{count}>; .reg .u32 %r<5>; .reg .u64 %a<4>;",
        "ld.param.u64 %a0, [into];",
        "ld.param.u32 %r0, [rounds];",
        "cvta.to.global.u64 %a1, %a0;",
        "mov.b32 %one, 0x3C003C00;",  # two halves of 1.0
        *(f"mov.f32 %c{at}, 0f00000000;" for at in range(count)),
        "AGAIN:",
    ]
    for first in range(0, count, 8):
        sums = "{" + ", ".join(f"%c{at}" for at in range(first, first + 8)) + "}"
        lines.append(f"wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {sums}, {ones}, {ones}, {sums};")
    lines += [
        "sub.u32 %r0, %r0, 1;",
        "setp.ne.u32 %more, %r0, 0;",
        "@%more bra AGAIN;",
        *(f"add.f32 %c0, %c0, %c{at};" for at in range(1, count)),
        "mov.u32 %r1, %ctaid.x;",
        "mov.u32 %r2, %ntid.x;",
        "mov.u32 %r3, %tid.x;",
        "mad.lo.u32 %r4, %r1, %r2, %r3;",
        "mul.wide.u32 %a2, %r4, 4;",
        "add.u64 %a3, %a1, %a2;",
        "st.global.f32 [%a3], %c0;",
        "ret;",
        "}",
    ]
    return "\n".join(lines) + "\n"


class Driver:
    """The driver's library. A call raises DriverError for any code but 0."""

    def __init__(self, library: Any = None) -> None:
        self._library = library if library is not None else ctypes.CDLL("libcuda.so.1")

    def __call__(self, name: str, *arguments: Any) -> None:
        code = int(getattr(self._library, name)(*arguments))
        if code:
            raise DriverError(name, code)

    def init(self) -> None:
        for _ in range(INIT_TRIES - 1):
            with contextlib.suppress(DriverError):
                self("cuInit", ctypes.c_uint(0))
            time.sleep(0.1)
        self("cuInit", ctypes.c_uint(0))  # does nothing after a call that worked

    def count(self) -> int:
        count = ctypes.c_int()
        self("cuDeviceGetCount", ctypes.byref(count))
        return count.value


class Gpu:
    """One GPU, in the context of the thread that made this."""

    def __init__(self, driver: Driver, number: int) -> None:
        self._call = driver
        self._device = ctypes.c_int()
        driver("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(number))
        self.capability = self._attribute(MAJOR)
        self._processors = self._attribute(PROCESSORS)
        self._context = ctypes.c_void_p()
        driver("cuCtxCreate_v2", ctypes.byref(self._context), ctypes.c_uint(0), self._device)

    @property
    def uuid(self) -> str:
        raw = (ctypes.c_ubyte * 16)()
        self._call("cuDeviceGetUuid", ctypes.byref(raw), self._device)
        text = bytes(raw).hex()
        return "GPU-" + "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def multiply(self) -> dict[str, Any]:
        """Return TFLOPS, and whether each sum was right."""
        module, function, into = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()
        self._call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(ptx().encode()))
        self._call("cuModuleGetFunction", ctypes.byref(function), module, ctypes.c_char_p(b"multiply"))
        blocks = self._processors * BLOCKS_PER_PROCESSOR
        threads = blocks * THREADS
        self._call("cuMemAlloc_v2", ctypes.byref(into), ctypes.c_size_t(4 * threads))
        rounds = ctypes.c_uint(ROUNDS)
        arguments = (ctypes.c_void_p * 2)(
            ctypes.cast(ctypes.byref(into), ctypes.c_void_p), ctypes.cast(ctypes.byref(rounds), ctypes.c_void_p)
        )
        shape = [ctypes.c_uint(number) for number in (blocks, 1, 1, THREADS, 1, 1, 0)]
        measured, seconds, start = 0, 0.0, time.monotonic()
        while (now := time.monotonic()) - start < MULTIPLY_SECONDS:
            for _ in range(BATCH):
                self._call("cuLaunchKernel", function, *shape, ctypes.c_void_p(), arguments, ctypes.c_void_p())
            self._call("cuCtxSynchronize")
            if now - start >= WARM_SECONDS:
                measured, seconds = measured + BATCH, seconds + time.monotonic() - now
        sums = (ctypes.c_char * (4 * threads))()
        self._call("cuMemcpyDtoH_v2", ctypes.byref(sums), into, ctypes.c_size_t(4 * threads))
        flops = measured * threads // 32 * SUMS * ROUNDS * FLOPS
        right = struct.pack("<f", 512.0 * ROUNDS) * threads
        return {"tflops": round(flops / seconds / 1e12, 2) if seconds else None, "is_right": bytes(sums) == right}

    def copy(self) -> dict[str, Any]:
        """Return the GB/s to and from memory of the host that does not move, and whether all bytes came back."""
        host_memory, gpu_memory = ctypes.c_void_p(), ctypes.c_uint64()
        size = ctypes.c_size_t(COPY_BYTES)
        self._call("cuCtxSetCurrent", self._context)
        self._call("cuMemAllocHost_v2", ctypes.byref(host_memory), size)
        self._call("cuMemAlloc_v2", ctypes.byref(gpu_memory), size)
        pattern = bytes(range(256)) * 4096
        for offset in range(0, COPY_BYTES, len(pattern)):
            ctypes.memmove((host_memory.value or 0) + offset, pattern, len(pattern))
        to = self._rate("cuMemcpyHtoD_v2", gpu_memory, host_memory, size)
        ctypes.memset(host_memory, 0, COPY_BYTES)
        back = self._rate("cuMemcpyDtoH_v2", host_memory, gpu_memory, size)
        last = ctypes.string_at((host_memory.value or 0) + COPY_BYTES - len(pattern), len(pattern))
        self._call("cuMemFreeHost", host_memory)
        return {"to_gbs": to, "from_gbs": back, "is_copied": last == pattern}

    def _rate(self, call: str, *arguments: Any) -> float:
        best = 0.0
        for _ in range(COPIES):
            start = time.monotonic()
            self._call(call, *arguments)
            best = max(best, COPY_BYTES / 1e9 / max(time.monotonic() - start, 1e-9))
        return round(best, 2)

    def _attribute(self, number: int) -> int:
        answer = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(answer), ctypes.c_int(number), self._device)
        return answer.value


def measure(library: Any = None) -> list[dict[str, Any]]:
    """Return the figures of each GPU. `error` and `code`: the call that failed, and its number. Raise DriverError."""
    driver = Driver(library)
    driver.init()
    figures: list[dict[str, Any]] = [{} for _ in range(driver.count())]
    gpus: list[Any] = [None] * len(figures)
    workers = [threading.Thread(target=_work, args=(driver, at, figures, gpus)) for at in range(len(figures))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for at, gpu in enumerate(gpus):  # one after the other, so that each has the host's memory for itself
        if gpu is not None and "error" not in figures[at]:
            _try(figures[at], gpu.copy)
    return figures


def _work(driver: Driver, at: int, figures: list[dict[str, Any]], gpus: list[Any]) -> None:
    def begin() -> dict[str, Any]:
        gpus[at] = gpu = Gpu(driver, at)
        figures[at].update(uuid=gpu.uuid, capability=gpu.capability)
        return gpu.multiply() if gpu.capability >= LEAST_MAJOR else {}

    _try(figures[at], begin)


def _try(figures: dict[str, Any], work: Any) -> None:
    try:
        figures.update(work())
    except DriverError as error:
        figures.update(error=str(error), code=error.code)
    except Exception as error:  # noqa: BLE001  a mistake of the probe says nothing about a GPU
        figures.update(error=f"{type(error).__name__}: {error}", code=0)
