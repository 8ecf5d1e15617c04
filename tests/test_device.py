import contextlib
import os

import pytest
import torch

from seq2seq import device as module
from seq2seq.config import Precision
from seq2seq.device import DTYPES, autocast, is_out_of_memory, resolve_device, resolve_precision, set_threads
from seq2seq.errors import ConfigError

CPU = torch.device("cpu")


@pytest.fixture
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("_no_gpu")
def test_auto_without_gpu_is_the_cpu() -> None:
    assert resolve_device("auto") == resolve_device("cpu") == CPU


@pytest.mark.usefixtures("_two_gpus")
def test_auto_takes_a_gpu() -> None:
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["xyz", "", "CPU", "5", "cuda:", "cuda:x", "cpu:7", "meta", "xla"])
def test_names_of_no_device(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_device(name)
    assert str(caught.value) == f"device ({name}) must be auto, cpu, cuda, cuda:N or mps."


@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_here(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device={name}: torch finds no {name[:4].rstrip(':')} device here; use"):
        resolve_device(name)


@pytest.mark.usefixtures("_two_gpus")
def test_a_gpu_too_many() -> None:
    with pytest.raises(ConfigError, match="device=cuda:2: this machine has 2 CUDA devices, counted from 0"):
        resolve_device("cuda:2")


def test_table_is_the_enum() -> None:
    assert {*DTYPES, Precision.auto} == set(Precision)


def test_precision_as_asked() -> None:
    assert resolve_precision(Precision.float32, CPU) == torch.float32
    assert resolve_precision(Precision.bfloat16, CPU) == torch.bfloat16
    assert resolve_precision(Precision.float16, torch.device("cuda")) == torch.float16
    with pytest.raises(ConfigError, match="precision=float16 is for GPUs"):
        resolve_precision(Precision.float16, CPU)


@pytest.mark.parametrize(("pays", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_asks_the_cpu(monkeypatch: pytest.MonkeyPatch, pays: bool, expected: torch.dtype) -> None:
    monkeypatch.setattr(module, "_bfloat16_pays", lambda: pays)
    assert resolve_precision(Precision.auto, CPU) == expected


@pytest.mark.parametrize(
    ("seconds", "pays"),
    [
        ([1.0, 0.4, 1.0, 0.4], True),
        ([1.0, 0.6, 1.0, 0.6], False),  # faster, but not by enough
        ([1.0, 9.0, 1.0, 0.4], True),  # something else was running
        ([9.0, 0.4, 0.7, 0.4], False),
    ],
)
def test_the_probe_compares_the_fastest_of_each(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], pays: bool
) -> None:
    """`seconds`: of each product, float32 and bfloat16 in turn."""
    clock = 0.0
    times = []
    for first, second in zip(seconds[::2], seconds[1::2], strict=True):
        times += [clock, clock + first, clock + first + second]
        clock = times[-1]
    moments = iter(times)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(moments))
    assert module._bfloat16_pays.__wrapped__(size=2, repeats=2) == pays


@pytest.mark.parametrize("native", [False, True])
def test_auto_on_a_gpu_wants_native_bfloat16(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    expected = torch.bfloat16 if native else torch.float32
    assert resolve_precision(Precision.auto, torch.device("cuda")) == expected


def test_the_probe_runs_once_a_process() -> None:
    module._bfloat16_pays.cache_clear()
    first = resolve_precision(Precision.auto, CPU)
    assert resolve_precision(Precision.auto, CPU) == first
    assert module._bfloat16_pays.cache_info().misses == 1


def test_autocast() -> None:
    assert isinstance(autocast(CPU, torch.float32), contextlib.nullcontext)
    with autocast(CPU, torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert set_threads(2) == torch.get_num_threads() == 2
        assert (
            set_threads(None)
            == torch.get_num_threads()
            == (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
        )
    finally:
        torch.set_num_threads(before)


def test_other_mistakes_are_no_lack_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"))
    assert is_out_of_memory(RuntimeError("unable to mmap 591040 bytes from file <x>: Cannot allocate memory (12)"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
