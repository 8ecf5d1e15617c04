"""What a step of Muon costs beside one of AdamW, and how nearly orthogonal its updates are.

    python tools/benchmarks/muon.py [--threads 1] [--repeats 9]

The weights of conf/model/small.yaml with 4,000 words on the CPU. One line an optimiser: CPU milliseconds a step (the
smallest of the repeats: nothing but other programs makes it larger) and, for Muon, which share of the singular
values of a matrix come to between 0.7 and 1.3 where the values fall with their rank, as 1 / rank.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from seq2seq.config import Config, OptimizerKind, Task, TrainingConfig  # noqa: E402  (works without installation)
from seq2seq.configure import check, register_schemas  # noqa: E402
from seq2seq.model.build import build_model  # noqa: E402
from seq2seq.training.muon import SMALLEST, minimax, orthogonalised  # noqa: E402
from seq2seq.training.optimizer import build_optimizer  # noqa: E402

VOCABULARY = 4000


def milliseconds(model: nn.Module, settings: TrainingConfig, *, repeats: int) -> float:
    """CPU time of one step."""
    optimizer = build_optimizer(settings, model)
    times = []
    for _ in range(repeats + 1):  # the first makes the state
        start = time.process_time()
        optimizer.step()
        times.append(time.process_time() - start)
    return 1000 * min(times[1:])


def share_in_band(steps: int, *, dim: int = 256) -> float:
    """Share of the singular values that the iteration brings to between 0.7 and 1.3."""
    left, _, right = torch.linalg.svd(torch.randn(dim, dim, generator=torch.Generator().manual_seed(1)))
    matrix = left * torch.arange(1, dim + 1) ** -1.0 @ right
    values = torch.linalg.svdvals(orthogonalised(matrix[None], minimax(steps))[0])
    return float(((values > 0.7) & (values < 1.3)).float().mean())


def main() -> None:
    """Measure each in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    register_schemas()
    config: Config = check("train", ["model=small", "data.train=unread", "data.valid=unread"])
    model = build_model(config.model, task=Task.translation, source_vocab_size=VOCABULARY, target_vocab_size=VOCABULARY)
    for parameter in model.parameters():
        parameter.grad = 1e-3 * torch.randn_like(parameter)
    print(f"{'AdamW':<14}{milliseconds(model, TrainingConfig(), repeats=options.repeats):8.1f} ms")
    for steps in sorted(SMALLEST):
        settings = TrainingConfig(optimizer=OptimizerKind.muon, muon_steps=steps)
        cost = milliseconds(model, settings, repeats=options.repeats)
        print(f"Muon, {steps} steps {cost:8.1f} ms   {share_in_band(steps):6.1%} of the singular values")


if __name__ == "__main__":
    main()
