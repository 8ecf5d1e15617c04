"""Which device and which number format the matrix products use."""

import contextlib
import os
import re
import time
from functools import cache

import torch

from seq2seq.config import DEVICE, Precision
from seq2seq.errors import ConfigError

DTYPES = {
    Precision.float32: torch.float32,
    Precision.bfloat16: torch.bfloat16,
    Precision.float16: torch.float16,
}


def resolve_device(name: str) -> torch.device:
    """The device that `device` means; auto is a GPU where there is one.

    Raises:
        ConfigError: there is no such kind of device, or not that one here.
    """
    if not re.fullmatch(DEVICE, name):
        raise ConfigError(f"device ({name}) must be auto, cpu, cuda, cuda:N or mps.")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[device.type]:
        raise ConfigError(f"device={name}: torch finds no {device.type} device here; use device=cpu or device=auto.")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ConfigError(f"device={name}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0.")
    return device


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of matrix products.

    auto asks the hardware: on some CPUs a bfloat16 product takes a hundred times as long as a float32 one.

    Raises:
        ConfigError: float16 on a CPU, which has too little range to train without a scaler.
    """
    if precision is Precision.float16 and device.type == "cpu":
        raise ConfigError("precision=float16 is for GPUs; on a CPU use precision=float32, bfloat16 or auto.")
    if precision is not Precision.auto:
        return DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "mps":
        return torch.float32
    return torch.bfloat16 if _bfloat16_pays() else torch.float32


@cache
def _bfloat16_pays(size: int = 512, repeats: int = 7) -> bool:
    """Whether bfloat16 products, the conversion of one operand included, take at most half the time on this CPU.

    Measured in turn and by the fastest of each, so that a busy machine does not decide. Half, because autocast also
    converts activations back and forth between the products.
    """
    left, right = torch.ones(size, size), torch.ones(size, size)
    right_bfloat16 = right.bfloat16()
    seconds = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    for _ in range(repeats):
        start = time.perf_counter()
        left @ right
        middle = time.perf_counter()
        left.bfloat16() @ right_bfloat16
        end = time.perf_counter()
        seconds[torch.float32] = min(seconds[torch.float32], middle - start)
        seconds[torch.bfloat16] = min(seconds[torch.bfloat16], end - middle)
    return 2 * seconds[torch.bfloat16] < seconds[torch.float32]


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Matrix products in `dtype` while entered; nothing at all for float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


OUT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "not enough memory", "out of memory", "bad_alloc")
"""What allocators that raise a plain RuntimeError say: torch's on CPUs, the system, torch's on MPS, C++."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is full, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)


def release_memory(device: torch.device) -> None:
    """Give memory that nothing uses back to the device, so that another cut of it can be had."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).empty_cache()


def set_threads(threads: int | None) -> int:
    """Use this many CPU threads; None uses every core this process may run on. Returns the number."""
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    torch.set_num_threads(threads)
    return threads
