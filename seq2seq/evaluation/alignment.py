"""Which words of a source belong to which of its translation, as the model's attention has it.

    source and translation -> one forced pass -> cross-attention, mean over the heads of the last two decoder layers
    -> of the step that chooses a word's first token -> sums over the tokens of a source word
    -> times the word's share of all that attends to that source word -> for each word its likeliest source word

The mean over heads is that of Garg et al. 2019, "Jointly Learning to Align and Translate with Transformer Models", who
found the last layer but one to be the best of six. Measured on 300 pairs of multi30k with 3+3 layers (828 links that a
dictionary knows): the mean of both layers is right in 86.5 %, the last alone in 86.1, the last but one in 83.2; with
the first token of a word alone 89.4 %; times the share seen from the source word, so that two words do not both take
what one of them translates, 92.1 %. The step that reads a token instead of choosing it (Chen et al. 2020) is right in
3 to 6 % there: with so few layers it attends to what the next word translates.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seq2seq.answering import Answer, Candidate
from seq2seq.config import Config, Positions, Task
from seq2seq.data.collate import padded
from seq2seq.data.lines import Line, Note
from seq2seq.data.pieces import text_parts
from seq2seq.data.tokenizer import BOS, EOS, PAD, Tokenizers
from seq2seq.data.words import encode_words, first_word, places
from seq2seq.errors import DecodingError
from seq2seq.fitting import in_halves, like_length
from seq2seq.model.twin import twin

CLOSE = 1e-4
"""Links decided more closely than this, in nats, are decided again without neighbours: rounding could turn one."""
LONGEST = 8
"""Texts of up to this many times data.max_length tokens are read, where positions have no table that ends."""
CHARACTERS_A_TOKEN = 16
"""A token seldom has more: a text with more for each token that a model takes is too long without a count."""
TOGETHER = 64
"""Lines whose words are linked at once."""

Item = TypeVar("Item")
Link = tuple[int, int]
"""(word of the source, word of the translation), from 0."""


@dataclass(frozen=True, slots=True)
class TextPair:
    """A source and its translation, or parts of them.

    Attributes:
        source: text.
        target: text.
        source_word: number of the first word of the source in its line.
        target_word: likewise.
    """

    source: str
    target: str
    source_word: int = 0
    target_word: int = 0


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A pair as ids, and the word of each id.

    Attributes:
        pair: its place in what was asked.
        source: ids, the end token last.
        target: ids that the decoder reads, the begin token first.
        source_words: of the ids of the source but the last; None of one that belongs to no word.
        target_words: of the ids of the target but the first.
    """

    pair: int
    source: list[int]
    target: list[int]
    source_words: list[int | None]
    target_words: list[int | None]


@dataclass(frozen=True, slots=True)
class AlignmentSettings:
    """How words are linked.

    Attributes:
        layers: decoder layers whose cross-attention counts, from 0; None takes the last two.
        threshold: link a word with every source word whose score is this at least, above 0 and at most 1; the score is
            the geometric mean of its share in the word's attention and the word's share in all attention that it gets.
            None links each word with the source word of the highest score.
    """

    layers: tuple[int, ...] | None = None
    threshold: float | None = None


class Aligner:
    """Links words of translations with words of their sources.

    Args:
        config: of the model.
        model: in evaluation mode, on its device.
        tokenizers: of both sides.
        settings: how.

    Raises:
        DecodingError: the model does not translate or is decoder-only, or a setting is impossible.
    """

    def __init__(self, config: Config, model: Any, tokenizers: Tokenizers, settings: AlignmentSettings) -> None:
        if config.task is not Task.translation:
            raise DecodingError(f"Alignments need a model that translates; this one is of task={config.task.value}.")
        if config.translates_decoder_only:
            raise DecodingError(
                "Alignments are read from cross-attention, which this model does not have: it was trained with "
                "model.encoder_layers=0."
            )
        count = len(model.decoder.layers)
        layers = tuple(range(max(count - 2, 0), count)) if settings.layers is None else settings.layers
        for layer in layers:
            if not 0 <= layer < count:
                raise DecodingError(f"alignment layer {layer} is none of the decoder's, which are 0 to {count - 1}.")
        if not layers:
            raise DecodingError("no alignment layer is given; name some, or leave them out for the last two.")
        if settings.threshold is not None and not 0 < settings.threshold <= 1:
            raise DecodingError(f"alignment threshold ({settings.threshold}) must be above 0 and at most 1.")
        self._model = twin(model)  # searches that go on meanwhile are not to be watched
        self._attentions = [self._model.decoder.layers[layer].cross_attention for layer in layers]
        self.tokenizers, self._threshold = tokenizers, settings.threshold
        weight = next(model.parameters())
        self._device, self._exact = weight.device, weight.dtype in (torch.float32, torch.float64)
        table = config.model.positions is Positions.learned
        self.max_length = config.data.max_length
        self._limit = config.model.max_length if table else LONGEST * self.max_length
        self._batch_tokens = config.decoding.batch_tokens

    def align(self, pairs: Sequence[TextPair]) -> list[list[Link] | None]:
        """The links of each pair, sorted; None of one that is longer than the model takes.

        Words are what stands between white space. A blank side has no links. What stands beside a pair does not change
        its links (in float32).

        Raises:
            DecodingError: a pair needs more memory than there is.
        """
        found: list[list[Link] | None] = [[] for _ in pairs]
        rows = []
        for number, pair in enumerate(pairs):
            encoded = self._encoded(number, pair)
            if encoded is None:
                found[number] = None
            elif len(encoded.source) > 1 and len(encoded.target) > 1:
                rows.append(encoded)
        for batch in like_length(rows, lengths=_lengths, budget=self._batch_tokens):
            for row, links in zip(batch, in_halves(self._decided, batch, too_large=_too_large), strict=True):
                pair = pairs[row.pair]
                found[row.pair] = [(s + pair.source_word, t + pair.target_word) for s, t in links]
        return found

    def _encoded(self, number: int, pair: TextPair) -> _Encoded | None:
        tokenizers = self.tokenizers
        if max(len(pair.source), len(pair.target)) > CHARACTERS_A_TOKEN * self._limit:
            return None
        source, source_words = encode_words(tokenizers.source, pair.source)
        target, target_words = encode_words(tokenizers.target, pair.target)
        if max(len(source), len(target)) >= self._limit:
            return None
        return _Encoded(number, [*source, EOS], [BOS, *target], source_words, target_words)

    def _decided(self, rows: Sequence[_Encoded]) -> list[list[Link]]:
        """Links of a batch, each what the row would have by itself."""
        found = []
        for row, shares in zip(rows, self._weights(rows), strict=True):
            links, margin = self._links(row, shares)
            if self._exact and len(rows) > 1 and margin < CLOSE:
                links, _ = self._links(row, self._weights([row])[0])
            found.append(links)
        return found

    @torch.no_grad()
    def _weights(self, rows: Sequence[_Encoded]) -> list[npt.NDArray[np.float64]]:
        """How each token of a target, as it is chosen, attends to those of its source: (target, source and the end)."""
        source, source_mask = padded([np.array(row.source) for row in rows], padding=PAD)
        target, _ = padded([np.array(row.target) for row in rows], padding=PAD)
        mask = None if source_mask.all() else torch.from_numpy(source_mask).to(self._device)
        seen: list[Tensor] = []
        for attention in self._attentions:
            attention.watch = lambda weights: seen.append(weights.double().mean(dim=1))
        self._model.features(
            torch.from_numpy(source).to(self._device), torch.from_numpy(target).to(self._device), source_mask=mask
        )
        mean = torch.stack(seen).mean(dim=0).cpu().numpy()
        return [mean[index, : len(row.target) - 1, : len(row.source)] for index, row in enumerate(rows)]

    def _links(self, row: _Encoded, weights: npt.NDArray[np.float64]) -> tuple[list[Link], float]:
        """Links, and by how many nats the closest was decided.

        Args:
            row: the pair.
            weights: (target tokens, source tokens and the end)
        """
        sources = sorted({word for word in row.source_words if word is not None})
        place = {word: number for number, word in enumerate(sources)}
        first_tokens: dict[int, int] = {}
        for token, word in enumerate(row.target_words):
            if word is not None:
                first_tokens.setdefault(word, token)
        targets = sorted(first_tokens)
        if not sources or not targets:
            return [], math.inf
        shares = np.zeros((len(sources), len(targets)))
        chosen_steps = weights[[first_tokens[word] for word in targets]].T
        for word, attended in zip(row.source_words, chosen_steps, strict=False):  # the end of the source is no word
            if word is not None:
                shares[place[word]] += attended
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(shares) - (np.log(shares.sum(axis=0)) + np.log(shares.sum(axis=1, keepdims=True))) / 2
        logs = np.nan_to_num(logs, nan=-np.inf)
        if self._threshold is not None:
            links = logs >= math.log(self._threshold)
            margin = float(np.abs(logs - math.log(self._threshold)).min())
        else:
            links = np.arange(len(sources))[:, None] == logs.argmax(axis=0)
            two = np.sort(logs, axis=0)[-2:]
            margin = float((two[1] - two[0]).min()) if len(sources) > 1 else math.inf
        return [(sources[source], targets[target]) for source, target in np.argwhere(links).tolist()], margin


def _lengths(row: _Encoded) -> tuple[int, int]:
    return max(len(row.source), len(row.target)), len(row.target)


def _too_large(_: _Encoded) -> str:
    return "A line needs more memory than the device has, even by itself; use a device with more memory."


def pharaoh(links: Iterable[Link]) -> str:
    """`0-0 1-2 ...`: source word, hyphen, word of the translation."""
    return " ".join(f"{source}-{target}" for source, target in links)


def aligned(
    answers: Iterable[Answer], aligner: Aligner, *, together: int, packed: int | None = None
) -> Iterator[Answer]:
    """The answers, with the links of all their candidates.

    Args:
        answers: translations.
        aligner: of the model that made them.
        together: answers that are worked on at once.
        packed: how lines were cut, see data/pieces.py.
    """
    for group in _groups(answers, together):
        pairs, owners = [], []
        for place, answer in enumerate(group):
            for rank, candidate in enumerate(answer.candidates):
                of_parts = _parts(answer.source, candidate, aligner, packed)
                pairs += of_parts
                owners += [(place, rank)] * len(of_parts)
        links: dict[tuple[int, int], list[Link]] = {}
        for owner, found in zip(owners, aligner.align(pairs), strict=True):
            links.setdefault(owner, []).extend(found or [])
        for place, answer in enumerate(group):
            yield dataclasses.replace(
                answer,
                candidates=tuple(
                    dataclasses.replace(candidate, alignment=tuple(sorted(set(links.get((place, rank), [])))))
                    for rank, candidate in enumerate(answer.candidates)
                ),
            )


def _parts(source: str, candidate: Candidate, aligner: Aligner, packed: int | None) -> list[TextPair]:
    """A line and its translation; where it was split, each part with its translation."""
    if not candidate.parts:
        return [TextPair(source, candidate.text)]
    sources = text_parts(source, aligner.tokenizers.source, max_length=aligner.max_length, packed=packed)
    source_starts, target_starts = places(source, sources), places(candidate.text, candidate.parts)
    return [
        TextPair(part, text, first_word(source, start), first_word(candidate.text, target_start))
        for part, start, text, target_start in zip(sources, source_starts, candidate.parts, target_starts, strict=True)
    ]


def aligned_pairs(
    pairs: Iterable[tuple[Line | None, Line]], aligner: Aligner
) -> Iterator[tuple[tuple[Note, ...], list[Link] | None]]:
    """Notes and links of (source, target) lines; None of a pair that is longer than the model takes."""
    for group in _groups(pairs, TOGETHER):
        texts = [TextPair(source.text if source else "", target.text) for source, target in group]
        for (source, target), links in zip(group, aligner.align(texts), strict=True):
            notes = dict.fromkeys([*(source.notes if source else ()), *target.notes])
            yield (*notes, *([Note.too_long_to_align] if links is None else [])), links


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group
