"""training.compile: the layers of a model through torch's compiler (Ansel et al. 2024, "PyTorch 2").

Each kind of layer is compiled once for all layers of the kind, with batch and lengths left open, and only for steps:
validation and decoding call the layers as they are. All else stays outside: embeddings, the norm behind the layers,
the loss (which runs at the speed of its matrix products), the optimiser, and whatever hooks a wrapper of the layers
(FSDP) has set on them.

On a CPU the numbers are those of the layers as written, to rounding, masks of dropout among them (model/dropout.py). On
a GPU the compiler draws masks of its own, fused into its loops, from seeds that torch's random state gives: the same
each time from the same state, but others than without the compiler.
"""

import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.device import autocast
from seq2seq.errors import ConfigError
from seq2seq.model.decoder import Decoder
from seq2seq.model.encoder import Encoder
from seq2seq.model.layers import DecoderLayer, EncoderLayer

ROWS, SOURCE_LENGTH, TARGET_LENGTH = 61, 29, 31
"""The batch that layers are compiled with: sizes that no other axis has, so that none is taken for another."""

MOST_GRAPHS = 64
"""Beyond this the compiler would silently stop compiling; a run has a handful: two kinds of layers, masks or none."""


def check_compiler(device: torch.device) -> None:
    """Compile something small.

    Raises:
        ConfigError: nothing can be compiled for this device here.
    """
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"training.compile=true is for device=cpu and cuda, not {device.type}; leave it out.")
    _silence_warnings()
    try:
        if device.type == "cpu":
            from torch._inductor.cpp_builder import get_cpp_compiler  # imports the compiler, which takes seconds

            get_cpp_compiler()  # what follows may be in its cache, which needs none
        double = torch.compile(lambda x: 2 * x)
        double(torch.ones(4, device=device))
    except Exception as error:  # whatever it is, it is not about this program
        reason = _reason(error)
        needed = "a C++ compiler" if device.type == "cpu" else "Triton and a C compiler"
        raise ConfigError(
            f"training.compile=true does not work on this machine ({reason}); install {needed} (for example "
            "the package g++) with the headers of this Python, or leave training.compile out."
        ) from error


def _reason(error: BaseException) -> str:
    """What went wrong, in a few words."""
    while error.__cause__ is not None:
        error = error.__cause__
    kind = type(getattr(error, "inner_exception", error)).__name__
    lines = str(error).strip().splitlines()
    return kind if not lines or kind == "InvalidCxxCompiler" else f"{kind}: {lines[0][:200]}"


def compile_layers(model: nn.Module, *, dtype: torch.dtype) -> None:
    """Compile the layers of a model, in place, before it is wrapped.

    One forward and backward pass is done for each graph that a run is sure to need, so that they are the same
    whichever batch a run, or its continuation, begins with. Weights, gradients and random states stay as they are.

    Args:
        model: on its device.
        dtype: of the matrix products.
    """
    device = next(model.parameters()).device
    print("training.compile: compiling the layers ...", end=" ", file=sys.stderr, flush=True)
    start = time.monotonic()
    _silence_warnings()
    torch._dynamo.config.recompile_limit = max(MOST_GRAPHS, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.optimize_ddp = False  # it cuts graphs at the buckets of DDP; ours end with each layer
    for layer in model.modules():
        if isinstance(layer, EncoderLayer | DecoderLayer):
            layer.forward = types.MethodType(_forward, layer)  # type: ignore[method-assign]
    training = model.training
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad(), autocast(device, dtype):
        model.train()
        for part in model.modules():
            if isinstance(part, Encoder | Decoder):
                _try_out(part, device)
        model.train(training)
    model.zero_grad(set_to_none=True)
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def _forward(layer: nn.Module, *arguments: Any, **keywords: Any) -> Tensor:
    """A layer's forward: compiled in a step, else as it is written. A bound method, so that a copy of it is its own.

    An axis of one row or one token would take graphs of its own, which cost more than the few such batches gain.
    """
    kind = EncoderLayer if isinstance(layer, EncoderLayer) else DecoderLayer
    single = any(1 in x.shape[:2] for x in arguments if isinstance(x, Tensor))
    if single or not (layer.training and torch.is_grad_enabled()):
        return kind.forward(layer, *arguments, **keywords)  # type: ignore[arg-type]
    return _compiled(kind)(layer, *arguments, **keywords)


_COMPILED: dict[type, Callable[..., Tensor]] = {}


def _compiled(kind: type) -> Callable[..., Tensor]:
    """The forward of all layers of a kind."""
    if kind not in _COMPILED:
        from seq2seq.training.graph_passes import CpuGraphPass  # imports the compiler, which takes seconds

        options: dict[str, Any] = {"post_grad_custom_post_pass": CpuGraphPass()}
        _COMPILED[kind] = torch.compile(kind.forward, dynamic=True, options=options)  # type: ignore[attr-defined]
    return _COMPILED[kind]


def _try_out(stack: Encoder | Decoder, device: torch.device) -> None:
    """Forward and backward through a stack, with padding and without."""
    layer: Any = stack.layers[0]
    dim = layer.self_attention.output.in_features
    longest = stack.positions.max_length  # of a learned table

    def states(length: int) -> Tensor:
        return torch.zeros(ROWS, min(length, longest), dim, device=device, requires_grad=True)

    source, target = states(SOURCE_LENGTH), states(TARGET_LENGTH)
    everything = torch.ones(source.shape[:2], dtype=torch.bool, device=device)
    for mask in (None, everything):
        if isinstance(stack, Encoder):
            torch.autograd.backward(stack(source, source_mask=mask).sum())
        elif stack.cross:
            torch.autograd.backward(stack(target, source, memory_mask=mask).sum())
    if isinstance(stack, Decoder) and not stack.cross:
        torch.autograd.backward(stack(target).sum())


def _silence_warnings() -> None:
    """No warnings of the compiler about itself, from now on: it compiles again when a batch is of a new kind."""
    warnings.filterwarnings("ignore", module=r"torch\.(_|fx\b|jit\b|utils\b)")
