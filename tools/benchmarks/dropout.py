"""How much faster is our CPU dropout than torch's, forward and backward, added to a residual as in every layer?

    python tools/benchmarks/dropout.py [--threads 1] [--rows 2048] [--dim 256] [--probability 0.1] [--repeats 15]

The last line of stdout is one JSON object; the rates are 10^9 numbers dropped and added a second, median of the
repeats. Run it on an otherwise idle machine.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from seq2seq.model.dropout import dropout_add  # noqa: E402  (works from a checkout that is not installed)


def torch_dropout_add(x: Tensor, residual: Tensor, probability: float) -> Tensor:
    """What every layer does without ours."""
    return residual + F.dropout(x, probability, True)


def our_dropout_add(x: Tensor, residual: Tensor, probability: float) -> Tensor:
    """What our layers do."""
    return dropout_add(x, residual, probability, training=True)


def main() -> None:
    """Time both, in turn, so that a busy moment of the machine strikes both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", type=int, default=2048, help="tokens")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--probability", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x = torch.randn(options.rows, options.dim, requires_grad=True)
    residual = torch.randn(options.rows, options.dim, requires_grad=True)
    gradient = torch.randn(options.rows, options.dim)
    candidates: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
        "torch": torch_dropout_add,
        "ours": our_dropout_add,
    }
    seconds: dict[str, list[float]] = {
        f"{name}_{part}": [] for name in candidates for part in ("forward", "forward_backward")
    }
    for _ in range(options.repeats + 2):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            with torch.no_grad():
                candidate(x, residual, options.probability)
            middle = time.perf_counter()
            torch.autograd.grad(candidate(x, residual, options.probability), [x, residual], gradient)
            seconds[f"{name}_forward"].append(middle - start)
            seconds[f"{name}_forward_backward"].append(time.perf_counter() - middle)
    rates = {name: x.numel() / statistics.median(times[2:]) / 1e9 for name, times in seconds.items()}  # 2: warm-up
    for name, rate in rates.items():
        print(f"{name:24s}{rate:8.3f} G numbers/s")
    result = {f"{name}_gnumbers_per_s": round(rate, 3) for name, rate in rates.items()}
    speedup = rates["ours_forward_backward"] / rates["torch_forward_backward"]
    print(json.dumps({**vars(options), "torch_version": torch.__version__, **result, "speedup": round(speedup, 2)}))


if __name__ == "__main__":
    main()
