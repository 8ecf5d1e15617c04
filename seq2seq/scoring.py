"""A model and held-out text in, figures out: what validation, the end of a run and `seq2seq.evaluate` share."""

import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from seq2seq.config import Config, DecodingConfig, Documents, Search, Task
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.data.batching import PackedBatches, PairBatches
from seq2seq.data.prepare import Prepared
from seq2seq.data.subword_sampling import subword_sampler
from seq2seq.data.token_cache import TokenDataset, TokenStream
from seq2seq.device import autocast
from seq2seq.evaluation.loss import TotalLoss
from seq2seq.evaluation.scores import bleu, chrf, ter
from seq2seq.evaluation.token_log_probs import token_log_probs
from seq2seq.model.combined import Combined
from seq2seq.training.distributed import Ranks
from seq2seq.training.loss import features_of, linear_cross_entropy
from seq2seq.training.report import Progress, console
from seq2seq.translator import Translator

GREEDY = DecodingConfig(search=Search.greedy)
"""How validation decodes: which of two checkpoints is better shows without a beam, in less time."""

SAMPLE = DecodingConfig(search=Search.sample, temperature=0.8, max_new_tokens=300)
"""How a language model writes the text it shows at each validation: the same draw each time."""


def training_batches(config: Config, prepared: Prepared) -> PairBatches | PackedBatches:
    """The batches of a run, in an order that is a pure function of its seed.

    Raises:
        DataError: there is nothing to make a batch of.
    """
    if isinstance(prepared.train, TokenStream):
        return PackedBatches(
            prepared.train,
            context=config.model.max_length,
            batch_tokens=config.training.token_budget,
            seed=config.seed,
            shuffle=True,
            weights=config.data.weights,
        )
    return PairBatches(
        prepared.train,
        weights=config.data.weights,
        batch_tokens=config.training.token_budget,
        seed=config.seed,
        shuffle=True,
        sampler=subword_sampler(config, prepared.tokenizers),
    )


def held_out_batches(
    config: Config, text: TokenDataset | TokenStream, *, ranks: Ranks | None = None
) -> Iterator[Batch]:
    """Every token of a held-out text once, shortest sentences first; of several ranks each gets its share."""
    batches: PairBatches | PackedBatches
    if isinstance(text, TokenStream):
        batches = PackedBatches(text, context=config.model.max_length, batch_tokens=4096, seed=0, shuffle=False)
    else:
        batches = PairBatches([text], batch_tokens=4096, seed=0, shuffle=False)
    plan = batches.epoch(0)
    return (plan[position] for position in (ranks or Ranks()).share(range(len(plan))))


BatchLoss = tuple[float, int, int | None]
"""Nats, target tokens, and for labels how many were right."""


@torch.no_grad()
def losses_of(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    dtype: torch.dtype = torch.float32,
    check: Callable[[], None] = lambda: None,
) -> Iterator[BatchLoss]:
    """Negative log-likelihood of each batch of a text.

    Args:
        model: any of the models; put into evaluation mode by the caller.
        batches: the text.
        dtype: of the matrix products.
        check: called before each batch; may raise to stop.
    """
    device = next(model.parameters()).device
    together = isinstance(model, Combined)
    head: Any = None if together else model.head
    for batch in batches:
        check()
        on_device, right = batch.to(device), None
        if together:
            assert on_device.target_in is not None
            with autocast(device, dtype):
                found = token_log_probs(
                    model,
                    on_device.target_in,
                    on_device.target_out,
                    source=on_device.source,
                    source_mask=on_device.source_mask,
                )
            yield -float(found.double().sum()), batch.num_tokens, None
            continue
        with autocast(device, dtype):
            features = features_of(model, on_device)
            _, nats = linear_cross_entropy(features, head.weight, head.bias, on_device.target_out)
            if batch.target_in is None:  # classification and tagging: few labels, so all logits are cheap
                counted = on_device.target_out != IGNORE
                right = int((head(features)[counted].argmax(dim=-1) == on_device.target_out[counted]).sum())
        yield float(nats), batch.num_tokens, right


def total_of(losses: Iterable[BatchLoss], *, characters: int = 0) -> TotalLoss:
    """The losses of a text's batches together; characters are those of the target text."""
    total = TotalLoss(characters=characters)
    for nats, tokens, right in losses:
        total.nats += nats
        total.tokens += tokens
        if right is not None:
            total.correct = (total.correct or 0) + right
    return total


def target_characters(config: Config, texts: Iterable[str]) -> int:
    """Characters of target texts, with one for each end of line that the model predicts too."""
    if config.task in (Task.classification, Task.tagging):
        return 0
    ends = 0 if config.data.documents is Documents.file else 1
    return sum(len(text) + ends for text in texts)


class Scorer:
    """Scores a model on the validation and test text of a run.

    Args:
        config: the run.
        prepared: its text.
        dtype: of the matrix products.
        ranks: share the work and get the same figures; None is this process alone.
        joined_length: of the training text, see data/joined.py.
    """

    def __init__(
        self,
        config: Config,
        prepared: Prepared,
        *,
        dtype: torch.dtype,
        ranks: Ranks | None = None,
        joined_length: int = 0,
    ) -> None:
        self.joined_length = joined_length
        self.config, self.prepared, self.dtype, self.ranks = config, prepared, dtype, ranks or Ranks()
        self.outputs: dict[str, list[str]] = {}
        """What the model made of each split, by `final`."""

    def validate(self, model: nn.Module, check: Callable[[], None]) -> dict[str, float]:
        """Figures of the validation text by name: loss, and for translation BLEU and chrF of greedy output."""
        figures = self._loss(model, "valid", check).as_metrics()
        if self.config.task is Task.translation:
            pairs = self.prepared.valid_pairs[: self.config.training.valid_lines]
            greedy = dataclasses.replace(GREEDY, split=self.config.decoding.split)
            hypotheses = self._translate(model, [source for source, _ in pairs], greedy, check, "validating")
            figures |= _numbers(translation_scores(hypotheses, [reference for _, reference in pairs]))
        elif self.config.task is Task.language_modelling:
            self._show_sample(model)
        return {name: round(value, 6) for name, value in figures.items()}

    def final(self, model: nn.Module) -> dict[str, dict[str, Any]]:
        """`score` of the validation text and, where there is one, of the test text."""
        splits = ["valid"] if self.prepared.test is None else ["valid", "test"]
        return {split: self.score(model, split) for split in splits}

    def score(self, model: nn.Module, split: str, *, with_ter: bool = False) -> dict[str, Any]:
        """Figures of the valid or test text, decoded as config.decoding says, with confidence intervals."""
        pairs = self.pairs(split)
        assert pairs is not None
        figures: dict[str, Any] = dict(self._loss(model, split, lambda: None).as_metrics())
        sources, references = [source for source, _ in pairs], [reference for _, reference in pairs]
        if self.config.task is Task.translation:
            what = f"scoring {split}, {self.config.decoding.search.value} search"
            self.outputs[split] = self._translate(model, sources, self.config.decoding, lambda: None, what)
            figures |= translation_scores(self.outputs[split], references, bootstrap=True, with_ter=with_ter)
        elif self.config.task in (Task.classification, Task.tagging):
            found = self._translator(model).predict(list(self.ranks.share(sources)))
            self.outputs[split] = self.ranks.merge(found)
        return figures

    def pairs(self, split: str) -> list[tuple[str, str]] | None:
        """(source, reference) texts of valid or test; None where there is no such text."""
        return self.prepared.valid_pairs if split == "valid" else self.prepared.test_pairs

    def describe(self, split: str, final: dict[str, Any]) -> Iterator[str]:
        """The scores of a split, a line each, for people."""
        figures = final.get(split, {})
        for name, label in (("bleu", "BLEU"), ("chrf", "chrF"), ("ter", "TER")):
            if name in figures:
                yield (
                    f"{label} {figures[name]:.2f} ± {figures[f'{name}_confidence']:.2f} (95 %)  "
                    f"{figures[f'{name}_signature']}"
                )
        if figures:
            parts = [f"loss {figures['loss']:.4f} nats a token", f"perplexity {figures['perplexity']:.3f}"]
            if "loss_per_character" in figures:
                parts.append(f"{figures['loss_per_character']:.4f} nats a character")
            if "accuracy" in figures:
                parts.append(f"accuracy {figures['accuracy']:.2%}")
            yield ", ".join(parts)

    def _loss(self, model: nn.Module, split: str, check: Callable[[], None]) -> TotalLoss:
        text = self.prepared.valid if split == "valid" else self.prepared.test
        pairs = self.pairs(split)
        assert text is not None and pairs is not None
        characters = target_characters(self.config, (target for _, target in pairs))
        batches = held_out_batches(self.config, text, ranks=self.ranks)
        losses = self.ranks.merge(losses_of(model, batches, dtype=self.dtype, check=check))
        return total_of(losses, characters=characters)

    def _translator(self, model: nn.Module) -> Translator:
        return Translator(self.config, model, self.prepared.tokenizers, joined_length=self.joined_length)

    def _translate(
        self, model: nn.Module, sources: Sequence[str], decoding: DecodingConfig, check: Callable[[], None], what: str
    ) -> list[str]:
        # A draw depends on the line's number, so every rank makes all of them.
        ranks = Ranks() if decoding.search is Search.sample else self.ranks
        mine = list(ranks.share(sources))
        one_best = dataclasses.replace(decoding, n_best=1)
        answers = self._translator(model).translate_stream(mine, decoding=one_best, seed=self._seed(decoding))

        def texts() -> Iterator[str]:
            progress = Progress(wait=True)
            for number, answer in enumerate(answers, start=1):
                check()
                progress.show(f"{what}: {number:,} of {len(mine):,} lines")
                yield answer.text

        return ranks.merge(texts())

    def _seed(self, decoding: DecodingConfig) -> int | None:
        return self.config.seed if decoding.search is Search.sample else None

    def _show_sample(self, model: nn.Module) -> None:
        console.print("".join(self._translator(model).generate(decoding=SAMPLE)), style="dim", markup=False)


def translation_scores(
    hypotheses: Sequence[str], references: Sequence[str], *, bootstrap: bool = False, with_ter: bool = False
) -> dict[str, float | str]:
    """BLEU and chrF (and TER) by the names used in metrics.json; with `bootstrap` their intervals and signatures."""
    figures: dict[str, float | str] = {}
    metrics = {"bleu": bleu, "chrf": chrf} | ({"ter": ter} if with_ter else {})
    for name, metric in metrics.items():
        score = metric(hypotheses, references, bootstrap=bootstrap)
        figures[name] = round(score.value, 4)
        if bootstrap:
            assert score.confidence is not None
            figures[f"{name}_confidence"] = round(score.confidence, 4)
            figures[f"{name}_signature"] = score.signature
    return figures


def _numbers(figures: dict[str, float | str]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


def examples(config: Config, scorer: Scorer) -> Iterator[str]:
    """Source, reference and output of a few lines of the test (else validation) text, the same each time."""
    split = "test" if "test" in scorer.outputs else "valid"
    outputs, pairs = scorer.outputs.get(split), scorer.pairs(split)
    if not outputs or not pairs:
        return
    for index in sorted(
        random.Random(config.seed).sample(range(len(pairs)), min(config.training.sample_lines, len(pairs)))
    ):
        source, reference = pairs[index]
        yield f"source       {source}"
        yield f"reference    {reference}"
        yield f"{'translation' if config.task is Task.translation else 'prediction '}  {outputs[index]}"
        yield ""
