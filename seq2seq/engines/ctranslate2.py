"""CTranslate2 as an engine: our lines, pieces and settings, its products and its search.

Its beam search follows the same rules as ours: a sentence is done when patience * beam_size hypotheses have ended, the
first beam_size candidates of a step may end, the first beam_size others live on, all end at the greatest length. The
three differences that are left: tokens that are never written are struck out before the probabilities are made, in ours
after (which moves a log-probability by what the model gives to such tokens); sums are made in float32; and nothing is
told about how narrowly a line was decided, so that what stands beside a line in a batch can change it by rounding.
"""

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from seq2seq.answering import Solve
from seq2seq.config import DecodingConfig, LengthNormalisation, Positions, Precision, Quantization, Search
from seq2seq.data.pieces import Piece
from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK
from seq2seq.decoding import Hypothesis
from seq2seq.decoding.lengths import SLACK, fewest_tokens, most_tokens
from seq2seq.decoding.suppression import token_ids
from seq2seq.device import is_out_of_memory
from seq2seq.engines.exported import MODEL, Exported, load_exported, package
from seq2seq.errors import ConfigError, DecodingError

HONOURED = {
    *("search", "beam_size", "length_penalty", "length_normalisation", "n_best", "patience", "min_length"),
    *("max_length_ratio", "max_new_tokens", "temperature", "top_k", "top_p", "batch_tokens"),
    *("min_length_ratio", "max_length", "no_repeat_ngram_size", "suppress_tokens", "split"),
    *("mbr", "mbr_candidates"),  # which choose between the hypotheses that an engine returns
}
"""Settings of DecodingConfig that have an equivalent there, or no effect on translations."""
NO_PENALTY = 1e-9
"""In the place of a length penalty of 0, with which it would end a sentence by another rule. No score changes."""

SEEDS = 1 << 32
"""It takes this many different seeds, from 0 on."""


class CTranslate2Engine:
    """A model that was exported to CTranslate2.

    On a CPU the batches of a text are translated side by side, by one thread each. One by itself has all threads where
    products are of floating-point numbers (the model is loaded a second time for that), else one, too: measured with
    `model=small` and beam 5 on two cores of an AMD EPYC, a sentence took 28 ms with one thread and 12 with two in
    float32, 10 and 97 in int8. How many threads there are is settled when it is made.

    Args:
        exported: the model.
        device: cpu or cuda.
        device_index: number of the GPU.
        compute_type: number format of weights and products; the device can do it.

    Raises:
        ConfigError: the model cannot be loaded.
    """

    name = "ctranslate2"

    def __init__(self, exported: Exported, *, device: str, device_index: int, compute_type: Quantization) -> None:
        self.exported, config = exported, exported.config
        self._arguments = {"device": device, "device_index": device_index, "compute_type": compute_type.value}
        self._threads = torch.get_num_threads()
        at_a_time = self._threads if device == "cpu" else 1
        self._alone = 1 if compute_type.value.startswith("int") else at_a_time  # threads of a batch by itself
        self._many = self._load(at_a_time=at_a_time)
        self._one = self._many if self._alone == 1 else self._load(threads=self._alone)
        source, target = exported.tokenizers.source, exported.tokenizers.target
        self._source_pieces = source.pieces(range(source.vocab_size))
        self._pieces = target.pieces(range(target.vocab_size))
        self._id_of = {piece: number for number, piece in enumerate(self._pieces)}
        self._table = config.model.max_length if config.model.positions is Positions.learned else None

    @property
    def compute_type(self) -> str:
        """The number format of its products."""
        return str(self._one.compute_type)

    def workers(self, settings: DecodingConfig) -> int:
        """See `Engine`. What a sample draws depends on the batches before it in the same thread."""
        return 1 if self._arguments["device"] == "cuda" or settings.search is Search.sample else self._threads

    def solver(self, settings: DecodingConfig, *, seed: int, done: int = 0) -> Solve[list[Hypothesis]]:
        """See `Engine`."""
        self._refuse(settings, seed)
        if settings.search is Search.sample and done:
            raise DecodingError(
                "search=sample with engine=ctranslate2 cannot go on where it was stopped, for what it draws depends on "
                "the lines before; begin anew, or use engine=torch."
            )
        sampler: list[Any] = []

        def solve(pieces: Sequence[Piece]) -> tuple[list[list[Hypothesis]], list[float]]:
            if settings.search is not Search.sample:
                # A worker has but a share of the threads: see workers.py.
                is_worker = torch.get_num_threads() < self._threads
                return self._search(self._many if is_worker else self._one, pieces, settings)
            if not sampler:
                # Its threads take their source of chance when they first draw: each text gets a thread of its own.
                package().set_random_seed(seed)
                sampler.append(self._load(threads=self._alone))
            return self._search(sampler[0], pieces, settings)

        return solve

    def _refuse(self, settings: DecodingConfig, seed: int) -> None:
        default = type(settings)()
        for field in dataclasses.fields(settings):
            value = getattr(settings, field.name)
            if field.name not in HONOURED and value != getattr(default, field.name):
                raise DecodingError(
                    f"{field.name} ({getattr(value, 'value', value)}) has no equivalent with engine=ctranslate2; leave "
                    "it out, or use engine=torch."
                )
        ranked = settings.search is Search.beam and settings.beam_size > 1 or settings.num_candidates > 1
        normalisation = settings.length_normalisation
        if ranked and normalisation not in (LengthNormalisation.average, LengthNormalisation.none):
            raise DecodingError(
                f"length_normalisation={normalisation.value} has no equivalent with engine=ctranslate2, which "
                "divides by length ** length_penalty; use length_normalisation=average, or engine=torch."
            )
        if settings.search is Search.beam and settings.beam_size > 1 and settings.patience == 0:
            raise DecodingError(
                "patience=0 has no equivalent with engine=ctranslate2, which always stops at some number of ended "
                "hypotheses; use patience=1 or more, or engine=torch."
            )
        if seed >= SEEDS:
            raise DecodingError(f"seed ({seed}) must be below {SEEDS} with engine=ctranslate2.")
        positions, longest_source = self.exported.export.positions, self.exported.config.data.max_length
        longest = most_tokens(settings, longest_source - 1)
        if positions is not None and longest > positions:
            most = (positions - SLACK) / (longest_source - 1)
            raise DecodingError(
                f"max_length_ratio ({settings.max_length_ratio}) asks for up to {longest:,} positions, but the "
                f"exported model holds {positions:,}; use at most {math.floor(10 * most) / 10}, or engine=torch."
            )

    def _search(
        self, translator: Any, pieces: Sequence[Piece], settings: DecodingConfig
    ) -> tuple[list[list[Hypothesis]], list[float]]:
        results: list[Any] = [None] * len(pieces)
        of_fewest: dict[int, list[int]] = {}  # its least length, too, is one for a batch
        for row, piece in enumerate(pieces):
            of_fewest.setdefault(fewest_tokens(settings, len(piece.ids) - 1), []).append(row)
        for fewest, rows in of_fewest.items():
            found = self._within_limits(translator, [pieces[row] for row in rows], settings, min_length=fewest)
            for row, result in zip(rows, found, strict=True):
                results[row] = result
        return [self._hypotheses(result, settings) for result in results], [math.inf] * len(pieces)

    def _within_limits(
        self, translator: Any, pieces: Sequence[Piece], settings: DecodingConfig, *, min_length: int
    ) -> list[Any]:
        """Its results, each as if its piece's greatest length were that of the batch.

        A result is the piece's own when the search for it had ended before the piece's own limit; the other pieces are
        searched again, together with those of the same limit.
        """
        limits = [most_tokens(settings, len(piece.ids) - 1) for piece in pieces]
        if self._table is not None:
            limits = [min(limit, self._table) for limit in limits]
        words = [[self._source_pieces[number] for number in piece.ids[:-1]] for piece in pieces]  # it adds EOS
        longest = max(limits)
        results = self._translate(translator, words, settings, min_length=min_length, max_length=longest)
        again: dict[int, list[int]] = {}
        for row, (result, limit) in enumerate(zip(results, limits, strict=True)):
            if limit < longest and max(map(len, result.hypotheses)) >= limit:
                again.setdefault(limit, []).append(row)
        for limit, rows in again.items():
            same = [words[row] for row in rows]
            found = self._translate(translator, same, settings, min_length=min_length, max_length=limit)
            for row, result in zip(rows, found, strict=True):
                results[row] = result
        return results

    def _translate(
        self, translator: Any, words: list[list[str]], settings: DecodingConfig, *, min_length: int, max_length: int
    ) -> list[Any]:
        """Its results, with as many hypotheses of a line as ended its search, so that their lengths tell when."""
        beam_size = settings.beam_size if settings.search is Search.beam else 1
        forbidden = (PAD, BOS, UNK, *token_ids(settings.suppress_tokens, self.exported.tokenizers.target))
        options: dict[str, Any] = {}
        if settings.search is Search.sample:
            options = {
                "sampling_topk": settings.top_k,
                "sampling_topp": settings.top_p,
                "sampling_temperature": settings.temperature,
                "num_hypotheses": settings.num_candidates if settings.top_k != 1 else 1,
            }
        elif beam_size > 1:
            enough = max(settings.num_candidates, math.ceil(settings.patience * beam_size))
            options = {"patience": enough / beam_size, "num_hypotheses": enough}
        with _memory_errors():
            results: list[Any] = translator.translate_batch(
                words,
                beam_size=beam_size,
                length_penalty=self._alpha(settings) or NO_PENALTY,
                suppress_sequences=[[self._pieces[token]] for token in forbidden],
                max_input_length=0,
                max_decoding_length=max_length,
                min_decoding_length=min(min_length, max_length),
                no_repeat_ngram_size=settings.no_repeat_ngram_size,
                return_end_token=True,  # its length then counts in the score, as in ours
                return_scores=True,
                **options,
            )
        return results

    def _hypotheses(self, result: Any, settings: DecodingConfig) -> list[Hypothesis]:
        found = []
        for words, score in zip(result.hypotheses, result.scores, strict=True):
            tokens = tuple(self._id_of[word] for word in words)
            finished = tokens[-1:] == (EOS,)
            log_prob = score * len(tokens) ** self._alpha(settings)
            found.append(Hypothesis(tokens[:-1] if finished else tokens, score, log_prob, finished))
        if not all(math.isfinite(hypothesis.log_prob) for hypothesis in found[:1]):
            raise DecodingError(
                "The model's output is not a number; its weights are damaged or its numbers overflowed."
            )
        if settings.search is Search.sample and settings.top_k == 1:  # it draws once where there is nothing to draw
            return found * settings.num_candidates
        return found[: settings.num_candidates]

    def _alpha(self, settings: DecodingConfig) -> float:
        return 0.0 if settings.length_normalisation is LengthNormalisation.none else settings.length_penalty

    def _load(self, *, at_a_time: int = 1, threads: int = 1) -> Any:
        """The model for as many batches at a time, each with as many threads."""
        library = package()
        path = str(self.exported.folder / MODEL)
        own = torch.get_num_threads()
        try:
            return library.Translator(path, inter_threads=at_a_time, intra_threads=threads, **self._arguments)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"{path}: CTranslate2 cannot load it ({error}).") from error
        finally:
            torch.set_num_threads(own)  # its threads for a batch would be those of this thread, too


def load_engine(folder: str | Path, *, device: str, precision: str, quantization: str | None) -> CTranslate2Engine:
    """The engine of an exported model or of a checkpoint, which is exported into a cache the first time.

    Raises:
        CheckpointError: see `load_exported`.
        ConfigError: the same; the device is not there or cannot do the number format.
    """
    place, index = resolve_device(device)
    asked = asked_format(precision, quantization)
    if asked is not None:  # before an export, which takes its time
        check_format(asked, place)
    exported = load_exported(folder)
    compute_type = asked or exported.export.quantization
    check_format(compute_type, place)
    return CTranslate2Engine(exported, device=place, device_index=index, compute_type=compute_type)


def resolve_device(name: str) -> tuple[str, int]:
    """What CTranslate2 calls a device, and its number.

    Raises:
        ConfigError: there is none, or CTranslate2 has no such kind.
    """
    found = re.fullmatch("(auto|cpu|cuda)(?::([0-9]+))?", name)
    if not found or found[2] and found[1] != "cuda":
        raise ConfigError(f"device ({name}) must be auto, cpu, cuda or cuda:N with engine=ctranslate2.")
    count = package().get_cuda_device_count()
    kind = found[1] if found[1] != "auto" else "cuda" if count else "cpu"
    if kind == "cuda" and int(found[2] or 0) >= count:
        raise ConfigError(f"device={name}: CTranslate2 finds {count} CUDA devices here; use device=cpu.")
    return kind, int(found[2] or 0)


def asked_format(precision: str, quantization: str | None) -> Quantization | None:
    """The number format that a caller asks for; None leaves it to the export.

    Raises:
        ConfigError: there is no such format, or both are given.
    """
    for name, value, kinds in (("precision", precision, Precision), ("quantization", quantization, Quantization)):
        known = [kind.value for kind in kinds]
        if name == "precision" and value == Quantization.int8.value:
            raise ConfigError("precision=int8 is torch's; with engine=ctranslate2 it is quantization=int8.")
        if value is not None and value not in known:
            raise ConfigError(f"{name} ({value}) must be one of {', '.join(known)}.")
    if quantization is not None and precision != Precision.auto.value:
        raise ConfigError(f"precision={precision} has no effect beside quantization={quantization}; leave it out.")
    if quantization is None and precision == Precision.auto.value:
        return None
    return Quantization(quantization or precision)


def check_format(asked: Quantization, device: str) -> None:
    """Refuse a number format that the device, cpu or cuda, cannot do.

    Raises:
        ConfigError: it cannot.
    """
    supported = package().get_supported_compute_types(device)
    if asked.value not in supported:
        formats = ", ".join(kind.value for kind in Quantization if kind.value in supported)
        raise ConfigError(f"CTranslate2 cannot compute in {asked.value} on this {device} device, only in {formats}.")


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    """Memory that is full is told as torch tells it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise torch.OutOfMemoryError(str(error)) from error
        raise
