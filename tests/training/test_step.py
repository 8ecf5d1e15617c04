"""One step: what is not finite changes nothing; what does not fit into memory is cut, which changes no result."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2seq.data.batch import IGNORE, Batch
from seq2seq.data.collate import halves
from seq2seq.errors import TrainingError
from seq2seq.training.averaging import ExponentialMovingAverage
from seq2seq.training.interval import IntervalSums
from seq2seq.training.muon import Muon
from seq2seq.training.step import OptimizerStep, StepResult

VOCAB, DIM = 9, 4
CPU = torch.device("cpu")
Losses = tuple[Tensor, Tensor]


class Sums(nn.Module):
    """Cross-entropy of a linear model of the token before, summed; `trouble` is called with each batch and its loss."""

    def __init__(self, trouble: Callable[[Batch, Tensor], Tensor] = lambda _, loss: loss) -> None:
        super().__init__()
        self.trouble = trouble
        self.embedding = nn.Embedding(VOCAB, DIM)
        self.head = nn.Linear(DIM, VOCAB)

    def forward(self, batch: Batch) -> Losses:
        assert batch.target_in is not None
        logits = self.head(self.embedding(batch.target_in)).flatten(0, 1)
        loss = nn.functional.cross_entropy(
            logits.float() if logits.dtype == torch.float16 else logits,
            batch.target_out.flatten(),
            ignore_index=IGNORE,
            reduction="sum",
        )
        return self.trouble(batch, loss), loss.detach()


class Bad(torch.autograd.Function):
    """A finite loss with a gradient that is none."""

    @staticmethod
    def forward(context: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * float("inf")


class Full(torch.autograd.Function):
    """Memory that is full when the gradient of `of` arrives here."""

    @staticmethod
    def forward(context: Any, of: Tensor) -> Tensor:
        return of.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        raise full()


def full() -> RuntimeError:
    return RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


def batch(seed: int, rows: int = 8, length: int = 6) -> Batch:
    tokens = torch.randint(1, VOCAB, (rows, length + 1), generator=torch.Generator().manual_seed(seed))
    target_out = tokens[:, 1:].clone()
    target_out[rows // 2 :, length // 2 :] = IGNORE
    return Batch(None, None, tokens[:, :-1], target_out, int((target_out != IGNORE).sum()))


def optimizers() -> Iterator[tuple[str, Callable[[nn.Module], torch.optim.Optimizer]]]:
    yield "fused", lambda model: torch.optim.AdamW(model.parameters(), weight_decay=0.1, fused=True)
    yield "not fused", lambda model: torch.optim.AdamW(model.parameters(), weight_decay=0.1, fused=False)
    yield "Muon", lambda model: muon(model, on_gpu=False)
    yield "Muon as on a GPU", lambda model: muon(model, on_gpu=True)


def muon(model: nn.Module, *, on_gpu: bool) -> Muon:
    """Muon for a matrix and AdamW for the rest; a GPU's is told on the device which steps to leave out."""
    matrix, *rest = model.parameters()
    others = torch.optim.AdamW(rest, weight_decay=0.1, fused=True)
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "update_size": 0.2, "steps": 4}
    made = Muon({matrix: [len(matrix)]}, others, **settings)  # type: ignore[arg-type]
    made._step_supports_amp_scaling = on_gpu
    return made


OPTIMIZERS = dict(optimizers())


class Steps:
    """Steps of one model from the same start."""

    def __init__(
        self,
        trouble: Callable[[Batch, Tensor], Tensor] = lambda _, loss: loss,
        *,
        optimizer: str = "fused",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        torch.manual_seed(5)
        self.objective = Sums(trouble)
        if dtype == torch.float64:
            self.objective.double()
        self.optimizer = OPTIMIZERS[optimizer](self.objective)
        self.average = ExponentialMovingAverage(self.weights(), decay=0.9)
        working = torch.float32 if dtype == torch.float64 else dtype
        self.step = OptimizerStep(self.objective, self.optimizer, clip_norm=1.0, device=CPU, dtype=working)
        self.sums = IntervalSums(CPU)
        self.done = 0

    def weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self.objective.named_parameters()}

    def __call__(self, *batches: Batch) -> StepResult:
        result = self.step(batches, rate=0.1, sums=self.sums)
        self.done += 1
        self.average.update(self.weights(), step=self.done, skipped=result.skipped)
        return result

    def everything(self) -> dict[str, Tensor]:
        """Weights, optimiser state and average, copied."""
        found = {**self.weights(), **{f"average/{name}": tensor for name, tensor in self.average.weights.items()}}
        for name, parameter in self.objective.named_parameters():
            found |= {f"{name}/{key}": value for key, value in self.optimizer.state[parameter].items()}
        return {name: tensor.clone() for name, tensor in found.items()}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], **tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


# ---------------------------------------------------------------- not finite

TROUBLES: dict[str, Callable[[Tensor], Tensor]] = {
    "loss is NaN": lambda loss: loss * float("nan"),
    "loss is infinite, gradient is finite": lambda loss: loss + float("inf"),
    "gradient is infinite, loss is finite": lambda loss: Bad.apply(loss),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_step_that_is_not_finite_changes_nothing(optimizer: str, trouble: str) -> None:
    bad = batch(99)
    steps = Steps(lambda one, loss: TROUBLES[trouble](loss) if one is bad else loss, optimizer=optimizer)
    assert not steps(batch(1)).skipped
    before = steps.everything()
    assert steps(batch(2), bad).skipped  # one bad micro-batch of two
    assert_same(before, steps.everything())
    assert not steps(batch(3)).skipped
    figures = steps.sums.figures()
    assert (figures["skipped"], figures["tokens"]) == (1, 4 * batch(1).num_tokens)

    never = Steps(optimizer=optimizer)
    for seed in (1, 3):
        never(batch(seed))
        never.done += seed == 1  # the average's decay goes by steps, the skipped one among them
    assert_same(never.everything(), steps.everything())
    assert never.sums.figures()["loss"] == figures["loss"]  # the mean is over what was learned from


def test_the_first_step_may_be_skipped() -> None:
    steps = Steps(lambda one, loss: loss * float("nan"))
    before = steps.weights()["head.weight"].clone()
    assert steps(batch(1)).skipped
    assert torch.equal(steps.weights()["head.weight"], before)
    assert str(steps.sums.figures()["loss"]) == "nan"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_float16_lowers_its_scale_until_nothing_overflows(optimizer: str) -> None:
    """Each step that overflowed is skipped; the first that did not is the one of float32, to float16's precision."""
    half = Steps(lambda _, loss: loss * 1e3, optimizer=optimizer, dtype=torch.float16)
    before, skipped = half.everything(), 0
    while half(batch(1)).skipped:
        now = half.everything()
        assert_same(before, {name: now[name] for name in before})  # a fused optimiser has made zeros for its state
        skipped += 1
    assert skipped > 0
    assert half.step.scaler.get_scale() == 2.0**16 / 2**skipped
    single = Steps(lambda _, loss: loss * 1e3, optimizer=optimizer)
    single.done = skipped
    single(batch(1))
    assert_same(single.everything(), half.everything(), rtol=0.05, atol=0.01)


# -------------------------------------------------------------- out of memory


@pytest.mark.parametrize("fits", [1, 2, 3, 5])
def test_a_batch_that_does_not_fit_is_cut_and_gives_the_same_step(fits: int) -> None:
    """Whether the forward or the backward pass fails, and whichever micro-batch it is."""
    attempts: list[int] = []

    def trouble(one: Batch, loss: Tensor) -> Tensor:
        attempts.append(len(one.target_out))
        if len(one.target_out) <= fits:
            return loss
        if len(attempts) % 2:
            raise full()
        return loss + 0 * Full.apply(cut.objective.embedding.weight).sum()  # type: ignore[no-untyped-call]

    cut, whole = Steps(trouble, dtype=torch.float64), Steps(dtype=torch.float64)
    for seed in range(3):
        results = [steps(batch(seed), batch(seed + 10, rows=3)) for steps in (cut, whole)]
        torch.testing.assert_close(results[0].norm, results[1].norm, rtol=1e-12, atol=0)
    assert_same(whole.everything(), cut.everything(), rtol=1e-12, atol=1e-12)
    ours, theirs = cut.sums.figures(), whole.sums.figures()
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-6)  # the log adds up in float32
    assert ours["tokens"] == theirs["tokens"]
    assert ours["splits"] > 0 and theirs["splits"] == 0


def test_a_backward_pass_that_fails_half_way_counts_nothing_twice() -> None:
    """The head's gradient is there already when the embedding's runs out of memory."""
    there_already = []

    def trouble(one: Batch, loss: Tensor) -> Tensor:
        if len(one.target_out) < 8:
            return loss
        hidden = cut.objective.embedding(one.target_in)
        hidden = Full.apply(hidden)  # type: ignore[no-untyped-call]
        hidden.register_hook(lambda gradient: there_already.append(cut.objective.head.weight.grad is not None))
        again = cut.objective.head(hidden).flatten(0, 1)
        return nn.functional.cross_entropy(again, one.target_out.flatten(), ignore_index=IGNORE, reduction="sum")

    cut, whole = Steps(trouble, dtype=torch.float64), Steps(dtype=torch.float64)
    for steps in (cut, whole):
        steps(batch(2), batch(1, rows=4))
    assert there_already == [True]
    assert_same(whole.everything(), cut.everything(), rtol=1e-12, atol=1e-12)


def test_one_sentence_that_does_not_fit_is_one_sentence() -> None:
    def trouble(one: Batch, loss: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    with pytest.raises(TrainingError, match=r"not enough memory on cpu for one sentence of 6 tokens .*batch_tokens"):
        Steps(trouble)(batch(1))


def test_other_errors_are_not_taken_for_it() -> None:
    def trouble(one: Batch, loss: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Steps(trouble)(batch(1))


def test_halves_of_a_whole_are_cut_without_padding() -> None:
    first, second = halves(batch(1))
    assert (first.lengths, second.lengths) == ((0, 6), (0, 3))


def test_a_step_that_may_not_split_says_so_with_the_allocators_error() -> None:
    steps = Steps(lambda one, loss: Full.apply(loss))  # type: ignore[no-untyped-call]
    steps.step.may_split = False
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        steps(batch(1))
