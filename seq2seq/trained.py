"""A trained model with its tokenizers, and what every use of it needs: translation.py, labelling.py, writing.py."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seq2seq.answering import Answer, Join, Result, Solve, answers, solved
from seq2seq.config import Config, DecodingConfig, LineSplit, Task
from seq2seq.data.collate import padded
from seq2seq.data.lines import Line
from seq2seq.data.pieces import Cut, Piece, cut_text, cut_words
from seq2seq.data.prefixes import PrefixReader
from seq2seq.data.surfaces import surfaces
from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK, Tokenizers
from seq2seq.decoding.rules import Rule
from seq2seq.decoding.settings import decoding_settings
from seq2seq.decoding.suppression import Phrases, SuppressedText, token_ids
from seq2seq.engines import Engine
from seq2seq.errors import DecodingError
from seq2seq.evaluation.forced import LONGEST
from seq2seq.inspection import Inspector
from seq2seq.line_constraints import LineConstraints
from seq2seq.model.combined import Combined
from seq2seq.model.quantized import is_quantized
from seq2seq.signals.bounds import Bounds
from seq2seq.workers import worker_count

FORBIDDEN = (PAD, BOS, UNK)
"""Never written: they have no text."""
DEFAULT_SEED = 1


class Trained:
    """A model with its tokenizers.

    Args:
        config: what the model was trained with; `config.decoding` has the settings that a call does not change.
        model: in evaluation mode, on its device.
        tokenizers: of both sides.
        usual_length_ratio: target tokens for each source token in the training text; None where that is not known.
        joined_length: source tokens up to which the training text often had lines of several sentences, see
            data/joined.py; 0 where it had few, or where that is not known.
        engine: translates in the place of `model`, which is then None; there is nothing but translating then.

    Attributes:
        processes: whether batches are shared out on a CPU among forked processes instead of threads. They are faster,
            but only a program that has started no threads of its own may fork.
        exact: whether a line's output does not depend on its neighbours: its numbers are float32 or finer, and no
            engine keeps to itself how narrowly it decided.
    """

    def __init__(
        self,
        config: Config,
        model: Any,
        tokenizers: Tokenizers,
        *,
        usual_length_ratio: float | None = None,
        joined_length: int = 0,
        engine: Engine | None = None,
    ) -> None:
        self.config, self.model, self.tokenizers, self.engine = config, model, tokenizers, engine
        self.usual_length_ratio, self.joined_length = usual_length_ratio, joined_length
        self.processes = False
        self._phrases: dict[tuple[str, ...], Phrases] = {}
        weight = None if engine is not None else next(model.parameters())
        self.device = torch.device("cpu") if weight is None else weight.device
        self.exact = weight is not None and weight.dtype in (torch.float32, torch.float64) and not is_quantized(model)

    def settings(self, decoding: DecodingConfig | None = None, **changes: Any) -> DecodingConfig:
        """The settings of a call: `decoding`, else the checkpoint's, with these changes.

        Raises:
            DecodingError: a setting is unknown, impossible or without effect.
        """
        return decoding_settings(decoding or self.config.decoding, changes, task=self.config.task)

    def answers(
        self,
        lines: Iterable[Line | str | None],
        solve: Solve[Result],
        answer: Join[Result],
        *,
        budget: int,
        first_line: int = 0,
        done: int | None = None,
        required: LineConstraints | None = None,
        packed: int | None = None,
        learning: bool = False,
        workers: int | None = None,
    ) -> Iterator[Answer]:
        """`answering.answers` by this model: lines in, answers out; arguments as there.

        `learning` says that workers learn from each batch what they all need, so they must share their memory; a
        number of workers, that they are threads in which another engine computes.
        """
        processes = self.processes and not learning and workers is None
        cut = partial(self.cut, packed=packed)
        return answers(
            lines,
            cut=cut if required is None else partial(required.cut, by=cut),
            solve=solve,
            join=answer,
            budget=budget,
            exact=self.exact,
            workers=worker_count(self.device, processes=processes) if workers is None else workers,
            processes=processes,
            first_line=first_line,
            done=done,
        )

    def solved(self, pieces: Sequence[Piece], solve: Solve[Result], *, budget: int) -> list[Result]:
        """`answering.solved` by this model; arguments as there."""
        workers = worker_count(self.device, processes=self.processes)
        return solved(pieces, solve, budget=budget, exact=self.exact, workers=workers, processes=self.processes)

    def packed(self, settings: DecodingConfig) -> int | None:
        """Tokens of several sentences that are translated together at most; None: as many as the model takes."""
        return {LineSplit.auto: self.joined_length, LineSplit.sentences: 0, LineSplit.long: None}[settings.split]

    def cut(self, window: Sequence[Line], *, first: int, packed: int | None = None) -> Cut:
        """Lines as pieces that the model takes."""
        longest = self.config.data.max_length
        if self.config.task is Task.tagging:
            return cut_words(window, self.tokenizers.source, max_length=longest, first=first)
        return cut_text(window, self.tokenizers.source, max_length=longest, first=first, packed=packed)

    def inspector(self, bounds: Bounds | None) -> Inspector:
        """What measures outputs; None takes the bounds by default."""
        bounds = bounds or Bounds()
        usual = bounds.usual_length_ratio or self.usual_length_ratio or 1.0
        return Inspector(self.model, self.tokenizers, usual_length_ratio=usual, bounds=bounds)

    def source(self, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor | None]:
        """Source ids (batch, length), and their mask where something is padded."""
        ids, mask = padded([np.array(piece.ids) for piece in pieces], padding=PAD)
        source = torch.from_numpy(ids).to(self.device)
        return source, None if mask.all() else torch.from_numpy(mask).to(self.device)

    def forbidden(self, settings: DecodingConfig) -> tuple[int, ...]:
        """Tokens that are never written.

        Raises:
            DecodingError: suppress_tokens has what is no token.
        """
        return (*FORBIDDEN, *token_ids(settings.suppress_tokens, self.tokenizers.target))

    def rules(self, settings: DecodingConfig, *, limits: Sequence[int], past: Sequence[int] = ()) -> list[Rule]:
        """Those of settings that need the tokenizer; arguments as for SuppressedText."""
        if not settings.suppress_text:
            return []
        texts, target = tuple(settings.suppress_text), self.tokenizers.target
        if texts not in self._phrases:  # kept: it learns from each batch what follows from which end of text
            phrases = {*texts, *(normal for text in texts if (normal := target.normalise(text)).strip())}
            self._phrases[texts] = Phrases(phrases, surfaces=surfaces(target), eos_id=EOS)
        return [SuppressedText(self._phrases[texts], limits=limits, past=past)]

    @cached_property
    def prefix_reader(self) -> PrefixReader:
        """What reads forced prefixes; it takes a moment to make, the time of a few lines."""
        # A table of positions ends; elsewhere far more than any line that the model was trained on.
        most = int(min(self.config.longest_side - 1, LONGEST * self.config.data.max_length))
        return PrefixReader(self.tokenizers.target, most_tokens=most)

    def check_engine(self, action: str) -> None:
        """Refuse an action that another engine has not.

        Raises:
            DecodingError: there is an engine.
        """
        if self.engine is not None:
            raise DecodingError(f"engine={self.engine.name} translates only; to {action} use engine=torch.")

    def check_task(self, *tasks: Task) -> None:
        """Refuse a use that the model was not trained for.

        Raises:
            DecodingError: its task is none of these.
        """
        uses = {
            Task.translation: "translates: use translate, or seq2seq-translate on the command line",
            Task.language_modelling: "is a language model: use generate, or seq2seq generate",
            Task.classification: "labels lines: use predict, or seq2seq predict",
            Task.tagging: "labels words: use predict, or seq2seq predict",
        }
        if self.config.task not in tasks:
            raise DecodingError(f"This model {uses[self.config.task]}.")

    def check_alone(self, what: str) -> None:
        """Refuse what needs one model by itself.

        Raises:
            DecodingError: these are several.
        """
        if isinstance(self.model, Combined):
            raise DecodingError(f"These are several models together, and {what} needs one by itself; load one.")


def mixed(*numbers: int) -> int:
    """One number for several, different for different ones below 2 ** 32."""
    return sum(number << 32 * place for place, number in enumerate(numbers))
