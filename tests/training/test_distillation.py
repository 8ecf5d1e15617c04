import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.checkpoint import load_checkpoint
from seq2seq.config import Config, Documents, Positions, Task, TrainingConfig
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.data.cache import key_of
from seq2seq.errors import CheckpointError, ConfigError
from seq2seq.files import sha256
from seq2seq.plain import to_dict
from seq2seq.training import distillation, head_in_chunks
from seq2seq.training.distillation import DistillationObjective, linear_distillation, load_teacher
from seq2seq.training.objective import Objective

VOCAB, DIM, TEACHER_DIM, ROWS = 11, 6, 9, 7
Make = Callable[..., Path]


def inputs(dtype: torch.dtype = torch.float64, *, bias: bool = True) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(5)

    def leaf(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    targets = torch.randint(VOCAB, (2, ROWS), generator=generator)
    targets[0, -2:] = IGNORE
    return {
        "hidden": leaf(2, ROWS, DIM),
        "weight": leaf(VOCAB, DIM),
        "bias": leaf(VOCAB) if bias else None,
        "targets": targets,
        "teacher_hidden": leaf(2, ROWS, TEACHER_DIM),
        "teacher_weight": leaf(VOCAB, TEACHER_DIM),
        "teacher_bias": leaf(VOCAB) if bias else None,
    }


def reference(parts: dict[str, Any], *, label_smoothing: float, teacher_share: float, temperature: float) -> Tensor:
    """The formula, by torch's own losses on all logits at once."""
    counted = parts["targets"] != IGNORE
    logits = F.linear(parts["hidden"], parts["weight"], parts["bias"])[counted]
    guide = F.linear(parts["teacher_hidden"], parts["teacher_weight"], parts["teacher_bias"])[counted].detach()
    entropy = F.cross_entropy(logits, parts["targets"][counted], label_smoothing=label_smoothing, reduction="sum")
    divergence = F.kl_div((logits / temperature).log_softmax(-1), (guide / temperature).softmax(-1), reduction="sum")
    return (1 - teacher_share) * entropy + teacher_share * temperature**2 * divergence


def gradients(loss: Tensor, parts: dict[str, Any]) -> list[Tensor]:
    leaves = [parts[name] for name in ("hidden", "weight", "bias") if parts[name] is not None]
    return list(torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("teacher_share", [0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.5, 0.5])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk_rows", [1, 5, 1000])
def test_equals_the_formula(
    monkeypatch: pytest.MonkeyPatch,
    label_smoothing: float,
    teacher_share: float,
    temperature: float,
    bias: bool,
    chunk_rows: int,
) -> None:
    monkeypatch.setattr(head_in_chunks, "CHUNK_ELEMENTS", chunk_rows * VOCAB)
    parts = inputs(bias=bias)
    settings: dict[str, Any] = {
        "label_smoothing": label_smoothing,
        "teacher_share": teacher_share,
        "temperature": temperature,
    }
    mixture, nats = linear_distillation(**parts, **settings)
    expected = reference(parts, **settings)
    torch.testing.assert_close(mixture, expected, rtol=1e-12, atol=1e-12)
    plain = reference(parts, label_smoothing=0.0, teacher_share=0.0, temperature=1.0)
    torch.testing.assert_close(nats, plain.detach(), rtol=1e-12, atol=1e-12)
    assert not nats.requires_grad
    # a factor that is not 1 shows that the incoming gradient is used
    ours, theirs = gradients(mixture / 7, parts), gradients(expected / 7, parts)
    assert len(ours) == 2 + bias
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradients_by_finite_differences(monkeypatch: pytest.MonkeyPatch, temperature: float) -> None:
    monkeypatch.setattr(head_in_chunks, "CHUNK_ELEMENTS", 3 * VOCAB)
    parts = inputs()
    rest = {name: parts[name] for name in parts if name.startswith(("targets", "teacher"))}
    settings: dict[str, Any] = {"label_smoothing": 0.1, "teacher_share": 0.6, "temperature": temperature}

    def mixture(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_distillation(hidden=hidden, weight=weight, bias=bias, **rest, **settings)[0]

    assert torch.autograd.gradcheck(mixture, (parts["hidden"], parts["weight"], parts["bias"]))


def test_the_teacher_gets_no_gradient_and_no_gradient_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = inputs()
    settings: dict[str, Any] = {"label_smoothing": 0.1, "teacher_share": 0.5, "temperature": 2.0}
    linear_distillation(**parts, **settings)[0].backward()  # type: ignore[no-untyped-call]
    assert parts["weight"].grad is not None
    assert all(parts[name].grad is None for name in parts if name.startswith("teacher"))
    expected = linear_distillation(**parts, **settings)
    monkeypatch.setattr(Tensor, "scatter_add_", lambda *_: pytest.fail("made a gradient that nobody asked for"))
    with torch.no_grad():
        found = linear_distillation(**parts, **settings)
    torch.testing.assert_close(found[0], expected[0].detach())


def test_bfloat16_autocast() -> None:
    parts = inputs(torch.float32)
    settings: dict[str, Any] = {"label_smoothing": 0.1, "teacher_share": 0.5, "temperature": 2.0}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixture, nats = linear_distillation(**parts, **settings)
    assert mixture.dtype == nats.dtype == torch.float32  # sums are never kept in 8 bits
    expected = reference(parts, **settings)
    torch.testing.assert_close(mixture, expected, rtol=2e-2, atol=0)
    for one, other in zip(gradients(mixture, parts), gradients(expected, parts), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=5e-2, atol=0.1)


def test_no_target_that_counts() -> None:
    parts = inputs()
    parts["targets"].fill_(IGNORE)
    mixture, nats = linear_distillation(**parts, label_smoothing=0.1, teacher_share=0.5, temperature=1.0)
    assert mixture.item() == nats.item() == 0
    assert all(not gradient.any() for gradient in gradients(mixture, parts))


# ------------------------------------------------------------------ real models


def batch_of(task: str, vocab: int) -> Batch:
    tokens = torch.randint(4, vocab, (3, 6), generator=torch.Generator().manual_seed(1))
    if task == "translation":
        return Batch(tokens, None, tokens.flip(1), tokens, tokens.numel())
    return Batch(None, None, tokens[:, :-1], tokens[:, 1:], tokens[:, 1:].numel())


@pytest.mark.parametrize("task", ["translation", "language_modelling"])
def test_the_objective_teaches_a_student_and_leaves_the_teacher_alone(tiny_checkpoint: Make, task: str) -> None:
    teacher = load_checkpoint(tiny_checkpoint(task, dim=24, seed=1, dropout=0.4)).model
    student = load_checkpoint(tiny_checkpoint(task, dim=16, seed=2)).model.train()
    before = copy.deepcopy(teacher.state_dict())
    head: Any = student.head
    batch = batch_of(task, head.weight.size(0))
    objective = DistillationObjective(student, teacher, weight=1.0).train()
    assert {id(parameter) for parameter in objective.parameters()} == {id(one) for one in student.parameters()}
    assert objective.state_dict().keys() == Objective(student).state_dict().keys()
    assert not teacher.training  # else its dropout would teach noise

    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    divergences = []
    for _ in range(30):
        mixture, _ = objective(batch)
        optimizer.zero_grad()
        mixture.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        divergences.append(mixture.item() / batch.num_tokens)
    assert 0 < divergences[-1] < 0.5 * divergences[0]
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_student_that_is_its_teacher_has_nothing_to_learn(tiny_checkpoint: Make) -> None:
    model = load_checkpoint(tiny_checkpoint()).model
    batch = batch_of("translation", 30)
    for temperature in (1.0, 3.0):
        mixture, _ = DistillationObjective(model, copy.deepcopy(model), weight=1.0, temperature=temperature)(batch)
        assert abs(mixture.item()) < 1e-4
        mixture.backward()  # type: ignore[no-untyped-call]
        assert max(float(one.grad.abs().max()) for one in model.parameters() if one.grad is not None) < 1e-3


# ------------------------------------------------------------- what is refused


def student_of(teacher: Path) -> Config:
    config = load_checkpoint(teacher).config
    config.training.teacher = str(teacher)
    return config


def test_no_teacher_is_none() -> None:
    assert load_teacher(Config(), device=torch.device("cpu")) is None


def test_a_teacher_that_is_not_there_is_named_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"training\.teacher: .*nowhere: there is no such folder"):
        load_teacher(Config(training=TrainingConfig(teacher=str(tmp_path / "nowhere"))), device=torch.device("cpu"))


def test_a_teacher_comes_with_its_vocabulary_and_a_fingerprint(tiny_checkpoint: Make, tmp_path: Path) -> None:
    one, same, other = (
        tiny_checkpoint(seed=seed, folder=tmp_path / name) for seed, name in ((1, "one"), (1, "moved"), (2, "other"))
    )
    found = [load_teacher(student_of(folder), device=torch.device("cpu")) for folder in (one, same, other)]
    fingerprints = [teacher.fingerprint for teacher in found if teacher]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert found[0] is not None
    assert found[0].tokenizers.source.fingerprint == load_checkpoint(one).tokenizers.source.fingerprint
    assert not any(parameter.requires_grad for parameter in found[0].model.parameters())


def test_a_teachers_weights_are_hashed_once(tiny_checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be gigabytes; and the fingerprint is their checksum's, as in the states of runs that are there."""
    folder, hashed, real = tiny_checkpoint(), list[str](), hashlib.file_digest

    def digest(file: Any, name: str) -> Any:
        hashed.append(Path(file.name).name)
        return real(file, name)

    config = student_of(folder)
    monkeypatch.setattr(hashlib, "file_digest", digest)
    teacher = load_teacher(config, device=torch.device("cpu"))
    assert teacher is not None and hashed.count("model.safetensors") == 1
    assert teacher.fingerprint == key_of(
        weights=sha256(folder / "model.safetensors"),
        model=to_dict(config.model),
        tokenizers=[teacher.tokenizers.source.fingerprint, teacher.tokenizers.target.fingerprint],
    )


REFUSED = {
    "task": ("translation", "task", Task.language_modelling, "was trained for task=translation"),
    "vocabulary": (
        "translation",
        "tokenizer.vocab_size",
        50,
        r"vocab_size \(50\) must be that of training.teacher=.*8000",
    ),
    "documents": (
        "language_modelling",
        "data.documents",
        Documents.file,
        r"documents \(file\) must be that of .*, line",
    ),
    "context": ("language_modelling", "model.max_length", 25, r"model.max_length \(25\) is more than the 24 tokens"),
    "length": ("translation", "data.max_length", 25, r"data.max_length \(25\) is more than the 24 tokens"),
    "direction": ("translation", "data.source_language", "de", "translates from en to de, the other way round"),
}


@pytest.mark.parametrize(("task", "key", "value", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_teacher_that_cannot_teach_is_refused(
    tiny_checkpoint: Make, monkeypatch: pytest.MonkeyPatch, task: str, key: str, value: Any, sentence: str
) -> None:
    folder = tiny_checkpoint(task, positions=Positions.learned)
    known = load_checkpoint(folder)
    known.config.data.source_language, known.config.data.target_language = "en", "de"
    monkeypatch.setattr(distillation, "load_checkpoint", lambda *_, **__: known)
    config = student_of(folder)
    config.data.source_language, config.data.target_language = "en", "de"
    load_teacher(config, device=torch.device("cpu"))  # nothing is wrong yet
    if key == "data.source_language":
        config.data.target_language = "en"
    part, _, name = key.rpartition(".")
    setattr(getattr(config, part) if part else config, name, value)
    with pytest.raises(ConfigError, match=sentence):
        load_teacher(config, device=torch.device("cpu"))
