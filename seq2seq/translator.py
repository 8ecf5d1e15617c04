"""What a trained model is used for, from Python: translate lines, score them, label lines, write text.

```python
import seq2seq

model = seq2seq.load("runs/multi30k/best")
model.translate(["A man in a blue shirt is standing on a ladder."], beam_size=5)
```
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seq2seq.answering import Answer, Candidate, Join, Result, Solve, answers
from seq2seq.combination import Combination, load_combined
from seq2seq.config import (
    INT8,
    Config,
    DecodingConfig,
    Documents,
    EngineKind,
    EnsembleRule,
    LineSplit,
    Positions,
    Precision,
    Search,
    Task,
    Utility,
)
from seq2seq.data.collate import padded
from seq2seq.data.detokenizer import Detokenizer
from seq2seq.data.glossary import Glossary
from seq2seq.data.lines import Line, Note, one_line, rejoined
from seq2seq.data.phrases import PhraseTokenizer
from seq2seq.data.pieces import Cut, Piece, cut_text, cut_words
from seq2seq.data.prefixes import NO_PREFIX, Prefix, PrefixFeed, PrefixReader
from seq2seq.data.stopping import until
from seq2seq.data.surfaces import surfaces
from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK, Tokenizers
from seq2seq.decoding import Hypothesis, Requirements, SearchResult, generate, search
from seq2seq.decoding.alternatives import completing, next_tokens
from seq2seq.decoding.coverage import Attending, Coverage
from seq2seq.decoding.lengths import SLACK, FewestTokens, fewest_tokens, most_tokens
from seq2seq.decoding.prefix import Prefixed, Struck
from seq2seq.decoding.rules import Rule
from seq2seq.decoding.settings import decoding_settings
from seq2seq.decoding.speculative import Draft, speculate
from seq2seq.decoding.suppression import Phrases, SuppressedText, token_ids
from seq2seq.decoding.together import Together
from seq2seq.device import resolve_device, resolve_precision
from seq2seq.engines import Engine
from seq2seq.errors import ConfigError, DecodingError
from seq2seq.evaluation.alignment import TOGETHER, Aligner, AlignmentSettings, Link, aligned, aligned_pairs
from seq2seq.evaluation.forced import LONGEST, ForcedScore, ForcedScorer, line_pairs
from seq2seq.evaluation.least_risk import least_risk
from seq2seq.inspection import Found, Inspector
from seq2seq.line_constraints import LineConstraints
from seq2seq.model.combined import Combined, sensitivity_of
from seq2seq.model.layout import for_few_rows
from seq2seq.model.quantized import is_quantized, quantize
from seq2seq.model.state import DecodingState
from seq2seq.model.transformer import EncoderDecoder
from seq2seq.signals.bounds import Bounds
from seq2seq.workers import worker_count

FORBIDDEN = (PAD, BOS, UNK)
"""Never written: they have no text."""
DEFAULT_SEED = 1


def load(
    folder: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    precision: str = "auto",
    ensemble: str | None = None,
    ensemble_weights: Sequence[float] | None = None,
    lm: str | Path | None = None,
    lm_weight: float | None = None,
    engine: str = EngineKind.torch.value,
    quantization: str | None = None,
) -> "Translator":
    """A trained model, ready for use, or several that predict together.

    Args:
        folder: a checkpoint folder, or a run folder with best/ (or else last/) in it; a list of them makes an ensemble
            of models with the same vocabulary, which decodes by the settings of the first.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, float32, bfloat16, float16 or int8: the number format of weights and activations. auto is
            float32 on a CPU, the format that keeps lines independent of each other. int8 is for CPUs: 8-bit products,
            see model/quantized.py.
        ensemble: of several, the mean of their log_probs or of their probs; None is the former.
        ensemble_weights: of that mean, one for each, above 0; None weighs all alike.
        lm: the folder of a language model with the translator's target vocabulary. To each token's log-probability
            comes lm_weight times the language model's (shallow fusion, Gulcehre et al. 2015).
        lm_weight: above 0; None is 0.2.
        engine: torch, or ctranslate2, which only translates, by one model: see engines/ctranslate2.py. It also takes
            the folder that `seq2seq export` wrote.
        quantization: for engine=ctranslate2: a number format such as int8, in the place of precision.

    Raises:
        CheckpointError: a folder is not a checkpoint or is damaged.
        ConfigError: the device is not there, or cannot do the precision; the models do not fit each other, or a
            setting of their combination is impossible or without effect; the engine is unknown, not installed or
            cannot run this model.
    """
    folders = [folder] if isinstance(folder, str | Path) else list(folder)
    try:
        rule = None if ensemble is None else EnsembleRule(ensemble)
    except ValueError:
        raise ConfigError(f"ensemble ({ensemble}) must be one of {', '.join(EnsembleRule)}.") from None
    combination = Combination(folders, rule, ensemble_weights, lm, lm_weight)
    if engine != EngineKind.torch.value:
        return _by_engine(engine, combination, device=device, precision=precision, quantization=quantization)
    if quantization is not None:
        raise ConfigError(f"quantization ({quantization}) has no effect with engine=torch; use engine=ctranslate2.")
    try:
        place = resolve_device(device)
        if precision == INT8 and place.type != "cpu":
            raise ConfigError(f"precision=int8 is for CPUs; with device={place} use precision=float16 or bfloat16.")
        wanted = Precision.float32 if precision == INT8 else Precision(precision)
        if wanted is Precision.auto and place.type == "cpu":
            wanted = Precision.float32
        dtype = resolve_precision(wanted, place)
    except RuntimeError:
        raise ConfigError(f"device ({device}) must be auto, cpu, cuda, cuda:N or mps.") from None
    except ValueError:
        raise ConfigError(
            f"precision ({precision}) must be one of {', '.join(kind.value for kind in Precision)}, {INT8}."
        ) from None
    checkpoint = load_combined(combination, device=place)
    model = checkpoint.model.to(dtype)
    if precision == INT8:
        quantize(model)
    elif place.type == "cpu":
        for_few_rows(model)
    ratio = checkpoint.metrics.get("length_ratio")
    joined = checkpoint.metrics.get("joined_length", 0)
    return Translator(checkpoint.config, model, checkpoint.tokenizers, usual_length_ratio=ratio, joined_length=joined)


def _by_engine(
    engine: str, combination: Combination, *, device: str, precision: str, quantization: str | None
) -> "Translator":
    kinds = [kind.value for kind in EngineKind]
    if engine not in kinds:
        raise ConfigError(f"engine ({engine}) must be one of {', '.join(kinds)}.")
    if problems := list(combination.problems()):
        raise ConfigError(problems)
    if not combination.is_one:
        raise ConfigError(f"engine={engine} runs one model by itself; name one checkpoint and no lm, or leave it out.")
    from seq2seq.engines.ctranslate2 import load_engine

    other = load_engine(combination.folders[0], device=device, precision=precision, quantization=quantization)
    exported = other.exported
    return Translator(exported.config, None, exported.tokenizers, joined_length=exported.joined_length, engine=other)


class Translator:
    """A model with its tokenizers: text in, text out.

    A line's output depends on the line and the settings alone (with search=sample also on the line's number), not on
    its neighbours or the size of batches (in float32; in shorter formats rounding is too coarse to promise it, and
    another engine does not tell how narrowly it decided).

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
        self.joined_length = joined_length
        self.usual_length_ratio = usual_length_ratio
        self.processes = False
        self.config, self.model, self.tokenizers, self._engine = config, model, tokenizers, engine
        self._phrase_tokenizer: PhraseTokenizer | None = None
        if engine is not None:
            self._exact = False  # it does not tell how narrowly a line was decided
            return
        weight = next(model.parameters())
        self._device: torch.device = weight.device
        self._exact = weight.dtype in (torch.float32, torch.float64) and not is_quantized(model)
        self._phrases: dict[tuple[str, ...], Phrases] = {}
        self._prefixes: PrefixReader | None = None

    @property
    def exact(self) -> bool:
        """Whether a line's output does not depend on its neighbours: its numbers are float32 or finer."""
        return self._exact

    def settings(self, decoding: DecodingConfig | None = None, **changes: Any) -> DecodingConfig:
        """The settings of a call: `decoding`, else the checkpoint's, with these changes.

        Raises:
            DecodingError: a setting is unknown, impossible or without effect.
        """
        return decoding_settings(decoding or self.config.decoding, changes, task=self.config.task)

    # ---------------------------------------------------------------- lines

    def translate(
        self,
        lines: Iterable[Line | str],
        *,
        prefixes: Iterable[Line | str] | None = None,
        decoding: DecodingConfig | None = None,
        bounds: Bounds | None = None,
        retry: bool = False,
        constraints: Iterable[Sequence[str]] | None = None,
        glossary: Glossary | None = None,
        keep_placeholders: bool = False,
        **changes: Any,
    ) -> list[str]:
        """Translate lines.

        Args:
            lines: any text; nothing in it is an error, see data/lines.py.
            prefixes: what each translation begins with, one for each line, see data/prefixes.py; "" = anything.
            decoding: all settings at once; None takes the checkpoint's.
            constraints: for each line phrases that its translation must hold, one given twice twice.
            glossary: terms whose translations must be there when the line has them.
            keep_placeholders: tags, placeholders and addresses must be there as they are; see data/placeholders.py.
            bounds: what flags an output for retry; None takes those by default.
            retry: search again where an output is flagged, by the chain of decoding/fallback.py, and keep the better.
            changes: fields of DecodingConfig that differ from these, and `seed` for search=sample.

        Returns:
            one line of text for each, in the same order; empty for blank lines.

        Raises:
            DecodingError: the model does not translate, or a setting is unknown, impossible or without effect.
            DataError: there are more lines than constraints, or fewer.
        """
        if bounds is not None and not retry:
            raise DecodingError(
                "bounds have no effect without retry=True here; leave them out, or see translate_stream."
            )
        stream = self.translate_stream(
            lines,
            prefixes=prefixes,
            decoding=decoding,
            constraints=constraints,
            glossary=glossary,
            keep_placeholders=keep_placeholders,
            bounds=bounds,
            retry=retry,
            **changes,
        )
        return [answer.text for answer in stream]

    def translate_stream(
        self,
        lines: Iterable[Line | str | None],
        *,
        prefixes: Iterable[Line | str | None] | None = None,
        alternatives: int | None = None,
        decoding: DecodingConfig | None = None,
        first_line: int = 0,
        done: int | None = None,
        alignments: AlignmentSettings | None = None,
        bounds: Bounds | None = None,
        retry: bool = False,
        constraints: Iterable[Sequence[str]] | None = None,
        glossary: Glossary | None = None,
        keep_placeholders: bool = False,
        **changes: Any,
    ) -> Iterator[Answer]:
        """As `translate`, but line by line in bounded memory, with scores, alternatives, notes and reports.

        Args:
            lines: any text; None asks for what can be answered without waiting for more.
            prefixes: as for `translate`; None among them is passed over.
            alternatives: how many candidates each answer has, as `Translator.alternatives` gives them, the last
                repeated where there are fewer; None = n_best of the settings.
            decoding: as for `translate`.
            first_line: number of the first line, where these are the rest of a longer text.
            done: answers that an earlier call gave to these lines, which are left out; see answering.answers.
            alignments: how to link the words of outputs with those of their lines; None leaves Candidate.alignment out.
            bounds: what flags an output. Given, the signals of all lines are measured in batches; None measures those
                of a line when its answer's `report` is asked for, and flags it by the bounds by default.
            retry: as for `translate`.
            constraints: as for `translate`; what became of them is in each answer.
            glossary: as for `translate`, likewise.
            keep_placeholders: as for `translate`, likewise.
            changes: as for `translate`.
        """
        self._check_task(Task.translation)
        settings = self.settings(decoding, **changes)
        self._forbidden(settings)  # says now what is no token
        if settings.coverage_penalty and self._engine is None and not isinstance(self.model, EncoderDecoder):
            raise DecodingError("coverage_penalty needs one model with an encoder; leave it out with several.")
        required = None
        if constraints is not None or glossary is not None or keep_placeholders:
            self._check_engine("require phrases")
            if alternatives is not None:
                raise DecodingError("alternatives have no effect with constraints, glossary or keep_placeholders.")
            if keep_placeholders and prefixes is not None:  # one may hold more placeholders than the line
                raise DecodingError("prefixes do not go with keep_placeholders; leave one of them out.")
            if retry:
                raise DecodingError("retry does not go with constraints, glossary or keep_placeholders; leave it out.")
            if settings.search is not Search.beam or settings.beam_size < 2:
                raise DecodingError(
                    "constraints, glossary and keep_placeholders need search=beam with a beam_size of at least 2."
                )
            if settings.num_beam_groups > 1 or settings.coverage_penalty:
                name = "num_beam_groups" if settings.num_beam_groups > 1 else "coverage_penalty"
                raise DecodingError(
                    f"{name} does not go with constraints, glossary or keep_placeholders; leave it out."
                )
            required = LineConstraints(
                constraints,
                glossary,
                placeholders=keep_placeholders,
                tokenizer=self.tokenizers.source,
                first_line=first_line,
                done=done or 0,
            )
        seed = DEFAULT_SEED if changes.get("seed") is None else changes["seed"]
        packed = self._packed(settings)
        if prefixes is not None or alternatives is not None:
            if settings.split is LineSplit.sentences:
                raise DecodingError("split=sentences does not go with prefixes or alternatives; use split=long.")
            packed = None  # a text that is given may be of several sentences, as its line
            self._check_engine("begin with a given text or show alternatives")
        if alternatives is not None:
            if retry:
                raise DecodingError("retry has no effect on alternatives, which differ by intent; leave it out.")
            if settings.suppress_text:
                raise DecodingError("suppress_text has no effect on how alternatives begin; leave it out.")
            settings = completing(settings, changes, alternatives)

        feed = None
        if prefixes is not None:
            feed = PrefixFeed(prefixes, self._prefix_reader(), first_line=first_line, done=done or 0)

        engine = None if self._engine is None else self._engine.solver(settings, seed=seed, done=done or 0)

        def find(pieces: Sequence[Piece], settings: DecodingConfig) -> Found:
            if engine is not None:
                result = SearchResult(*engine(pieces))
                if settings.mbr is not Utility.none:
                    return self._least_risk(result, settings)
                return result.hypotheses, result.margins
            begin = [feed.of(piece.line, piece.part) if feed else NO_PREFIX for piece in pieces]
            if alternatives is not None:
                each = zip(pieces, begin, strict=True)
                found = [self._alternatives(*one, settings, count=alternatives, seed=seed) for one in each]
                return found, [math.inf] * len(pieces)  # each by itself
            return self._search(pieces, settings, seed=seed, prefixes=begin)

        def solve(pieces: Sequence[Piece]) -> Found:
            return find(pieces, settings)

        def answer(line: Line, notes: tuple[Note, ...], found: list[list[Hypothesis]]) -> Answer:
            prefix = feed.take() if feed else NO_PREFIX
            notes = (*notes, *prefix.notes)
            if any(not hypotheses[0].finished for hypotheses in found):
                notes = (*notes, Note.unfinished)
            ranks = range(settings.n_best if alternatives is None else alternatives)
            candidates = (self._candidate(found, rank, prefix) for rank in ranks)
            return Answer(line.text, tuple(candidates), notes)

        lines = feed.beside(lines) if feed else lines
        rows = settings.beam_size if settings.search is Search.beam else settings.num_candidates
        budget = settings.batch_tokens // rows
        where: dict[str, Any] = {"budget": budget, "first_line": first_line, "done": done, "packed": packed}
        if self._engine is not None:
            if bounds is not None or retry or alignments is not None:
                self._check_engine("measure signals, try again or align words")
            return self._answers(lines, solve, answer, **where)
        where["required"] = required
        inspector, first = self._inspector(bounds), first_line + (done or 0)
        cut = partial(self._cut, packed=packed)
        if bounds is None and not retry:
            found = self._answers(lines, solve, inspector.later(answer, cut, first=first), **where)
        else:
            inspected = inspector.solver(find, settings, retry=retry)
            found = self._answers(lines, inspected, inspector.at_once(answer, first=first), **where)
        if required is not None:
            found = required.reported(found)
        if alignments is None:
            return found
        # Where the next line may be long in coming, no answer waits for another.
        together = 1 if done is None and not isinstance(lines, Sequence) else TOGETHER
        return aligned(found, self.aligner(alignments), together=together, packed=packed)

    def alternatives(
        self, line: Line | str, prefix: Line | str = "", *, count: int = 5, **changes: Any
    ) -> list[Candidate]:
        """Translations of a line that go on from a prefix in different ways: what an autocompletion offers.

        Args:
            line: what to translate.
            prefix: what has been written of the translation; see data/prefixes.py.
            count: how many.
            changes: as for `translate`; the search they name completes each alternative.

        Returns:
            up to `count` translations. No two write the same token behind the prefix; their scores are the
            log-probabilities, in nats, of what they write there (with the last word of the prefix, where it is
            open), and the most probable is first.

        Raises:
            DecodingError: as for `translate`, or n_best or mbr is among the changes.
        """
        (answer,) = self.translate_stream([line], prefixes=[prefix], alternatives=count, **changes)
        return list(dict.fromkeys(answer.candidates))

    def align(
        self,
        sources: Iterable[Line | str],
        targets: Iterable[Line | str],
        alignments: AlignmentSettings | None = None,
    ) -> list[list[Link]]:
        """The words of given lines that belong together.

        Args:
            sources: lines; nothing in them is an error, see data/lines.py.
            targets: their translations, one for each.
            alignments: how; None as is best in general.

        Returns:
            for each pair (word of the source, word of the target), sorted; words stand between white space. None where
            a side is blank or longer than the model takes.

        Raises:
            DecodingError: the model does not translate.
            DataError: there are more lines on one side than on the other.
        """
        return [links or [] for _, links in self.align_stream(sources, targets, alignments)]

    def align_stream(
        self,
        sources: Iterable[Line | str],
        targets: Iterable[Line | str],
        alignments: AlignmentSettings | None = None,
    ) -> Iterator[tuple[tuple[Note, ...], list[Link] | None]]:
        """As `align`, but line by line in bounded memory, with notes; None for what is longer than the model takes."""
        return aligned_pairs(line_pairs(targets, sources), self.aligner(alignments or AlignmentSettings()))

    def aligner(self, alignments: AlignmentSettings) -> Aligner:
        """What links words by this model's attention.

        Raises:
            DecodingError: the model does not translate, or a setting is impossible.
        """
        self._check_alone("alignments")
        self._check_engine("align words")
        return Aligner(self.config, self.model, self.tokenizers, alignments)

    def score(
        self,
        targets: Iterable[Line | str],
        sources: Iterable[Line | str] | None = None,
        *,
        batch_tokens: int | None = None,
    ) -> list[ForcedScore]:
        """How probable the model finds given lines, token by token (forced decoding).

        Args:
            targets: lines to score; nothing in them is an error, see data/lines.py.
            sources: what they translate, one for each; None for a language model.
            batch_tokens: padded tokens of a batch, of the longer side; None takes the checkpoint's
                decoding.batch_tokens. It changes speed and memory only (see evaluation/forced.py).

        Returns:
            a score for each target, in the same order.

        Raises:
            DecodingError: the model gives labels; sources are missing, or have no effect.
            DataError: there are more lines on one side than on the other.
        """
        return list(self.score_stream(targets, sources, batch_tokens=batch_tokens))

    def score_stream(
        self,
        targets: Iterable[Line | str],
        sources: Iterable[Line | str] | None = None,
        *,
        batch_tokens: int | None = None,
        done: int = 0,
    ) -> Iterator[ForcedScore]:
        """As `score`, but line by line in bounded memory; scores that an earlier call gave, `done`, are left out."""
        self._check_engine("score")
        scorer = ForcedScorer(self.config, self.model, self.tokenizers)
        return scorer.stream(targets, sources, batch_tokens=batch_tokens, done=done)

    def predict(self, lines: Iterable[Line | str], *, batch_tokens: int | None = None) -> list[str]:
        """Label lines.

        Args:
            lines: any text; nothing in it is an error, see data/lines.py.
            batch_tokens: padded tokens of a batch; None takes the checkpoint's decoding.batch_tokens.

        Returns:
            a label for each line; for tagging one for each word of it, with spaces between; empty for blank lines.

        Raises:
            DecodingError: the model does not label.
        """
        return [answer.text for answer in self.predict_stream(lines, batch_tokens=batch_tokens)]

    def predict_stream(
        self,
        lines: Iterable[Line | str | None],
        *,
        batch_tokens: int | None = None,
        bounds: Bounds | None = None,
        done: int | None = None,
    ) -> Iterator[Answer]:
        """As `predict`, but line by line in bounded memory, with log-probabilities, notes and reports.

        Args:
            lines: any text; None asks for what can be answered without waiting for more.
            batch_tokens: as for `predict`.
            bounds: what flags an answer in its `report`; None takes those by default.
            done: answers that an earlier call gave to these lines, which are left out; see answering.answers.
        """
        self._check_task(Task.classification, Task.tagging)

        def whole(found: list[Tensor]) -> Tensor:
            log_probs = torch.cat(found)
            if self.config.task is Task.classification:  # the pieces of a split line judge together
                log_probs = log_probs.sum(dim=0, keepdim=True).log_softmax(dim=1)
            return log_probs

        def answer(line: Line, notes: tuple[Note, ...], found: list[Tensor]) -> Answer:
            if not found:
                return Answer(line.text, (Candidate("", 0.0, 0.0, 0),), notes)
            best, labels = whole(found).max(dim=1)
            text, total = self.tokenizers.target.decode(labels.tolist()), float(best.sum())
            return Answer(line.text, (Candidate(one_line(text), total, total, len(labels)),), notes)

        budget = batch_tokens or self.config.decoding.batch_tokens
        join = self._inspector(bounds).of_labels(answer, self._cut, whole=whole, first=done or 0)
        return self._answers(lines, self._label, join, budget=budget, done=done)

    # ----------------------------------------------------------------- text

    def as_draft(self, tokens: int = 4) -> Draft[DecodingState]:
        """This language model as the draft of a larger one, for `generate`.

        Args:
            tokens: to propose before the larger model checks them.

        Raises:
            DecodingError: the model is no language model, or tokens is no whole number of at least 1.
        """
        if self.config.task is not Task.language_modelling:
            raise DecodingError(f"A draft must be a language model; this model's task is {self.config.task.value}.")
        self._check_alone("a draft")
        vocabulary = self.tokenizers.target.fingerprint
        return Draft(self.model, self.config.model.max_length, vocabulary, self._device, tokens)

    def generate(
        self,
        prompt: str = "",
        *,
        sample: int = 0,
        stop: Sequence[str] = (),
        draft: Draft[Any] | None = None,
        decoding: DecodingConfig | None = None,
        **changes: Any,
    ) -> Iterator[str]:
        """Go on with a text, yielding pieces as they are made; joined, they are the new text without the prompt.

        The model sees at most its context, model.max_length tokens: whenever that is full, the last half of it is read
        again and the text goes on from there. Beam search yields each such stretch at its end.

        Args:
            prompt: how the text begins; empty to begin a new document.
            sample: number of the draw for search=sample: 0, 1, 2, ... give different texts of one seed.
            stop: texts before the first of which the new text ends.
            draft: a smaller model, by its `as_draft`, that proposes what this one then checks several tokens at a time:
                the same text with search=greedy (in float32), other texts of the same distribution with search=sample.
            decoding: all settings at once; None takes the checkpoint's.
            changes: fields of DecodingConfig that differ from these, and `seed` for search=sample.

        Raises:
            DecodingError: the model is no language model, the prompt has no tokens where the model needs some, the
                draft does not fit, or a setting is unknown, impossible or without effect.
        """
        task = self._writing_task(prompt, stop, draft, decoding, changes)
        return self._text(task, self._tokens(task, sample, draft))

    def generate_samples(
        self,
        prompt: str = "",
        *,
        samples: int,
        stop: Sequence[str] = (),
        draft: Draft[Any] | None = None,
        decoding: DecodingConfig | None = None,
        **changes: Any,
    ) -> list[Iterator[str]]:
        """As `generate` with sample=0, 1, 2, ..., the same texts, drawn side by side in batches.

        A stretch of a batch, as far as the context has room, is drawn for all its texts when the first is asked for it.
        With a draft, whose gain is in single texts, each is drawn alone; so it is under rules that go by what each text
        has written (repetition_penalty, no_repeat_ngram_size, suppress_text).

        Args:
            prompt: as for `generate`.
            samples: how many texts; as many rows as decoding.batch_tokens has room for whole contexts are in a batch.
            stop: as for `generate`.
            draft: as for `generate`.
            decoding: as for `generate`.
            changes: as for `generate`.

        Returns:
            the pieces of each text.

        Raises:
            DecodingError: samples is no whole number of at least 1, or more than 1 without search=sample; else as for
                `generate`.
        """
        task = self._writing_task(prompt, stop, draft, decoding, changes)
        settings = task.settings
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise DecodingError(f"samples ({samples!r}) must be a whole number of at least 1.")
        if samples > 1 and settings.search is not Search.sample:
            raise DecodingError(
                f"samples has no effect with search={settings.search.value}: every text would be the same; use "
                "search=sample."
            )
        ruled = settings.repetition_penalty != 1 or settings.no_repeat_ngram_size or settings.suppress_text
        if samples == 1 or draft is not None or ruled:
            return [self._text(task, self._tokens(task, sample, draft)) for sample in range(samples)]
        context = self.config.model.max_length
        found = []
        rows = max(1, settings.batch_tokens // context)
        for first in range(0, samples, rows):
            numbers = range(first, min(first + rows, samples))
            together = Together(
                self.model,
                task.prompt,
                seeds=[partial(_mixed, task.seed, sample) for sample in numbers],
                config=settings,
                context=context,
                eos_id=EOS,
                forbidden_ids=task.forbidden,
                exact=self._exact,
                device=self._device,
            )
            found += [self._text(task, together.tokens(row)) for row in range(len(numbers))]
        return found

    def _writing_task(
        self,
        prompt: str,
        stop: Sequence[str],
        draft: Draft[Any] | None,
        decoding: DecodingConfig | None,
        changes: dict[str, Any],
    ) -> "_WritingTask":
        """What a call asks for, checked."""
        self._check_task(Task.language_modelling)
        settings = self.settings(decoding, **changes)
        tokenizer = self.tokenizers.target
        if isinstance(stop, str):
            raise TypeError("stop is one string; give a list of texts")
        if "" in stop:
            raise DecodingError("An empty stop text would end every text at once; leave it out.")
        if draft is not None:
            self._check_alone("a draft")
            draft.check(settings, vocabulary=tokenizer.fingerprint, device=self._device)
        # A model of lines has read an end token before each; one of whole files never saw any.
        of_lines = self.config.data.documents is Documents.line
        tokens = [EOS, *tokenizer.encode(prompt)] if of_lines else tokenizer.encode(prompt or "\n")
        if changes.get("min_length") and not of_lines:
            raise DecodingError("min_length has no effect: this model was trained on whole files, so it never ends.")
        if not tokens:
            raise DecodingError("This model goes on with a text but cannot begin one; give it a prompt.")
        # Where tokens cannot end in a space, the next word brings the one that the prompt ends in.
        doubled = prompt.endswith(" ") and not tokenizer.normalise(prompt).endswith(" ")
        forbidden = (*self._forbidden(settings), *([] if of_lines else [EOS]))
        seed = DEFAULT_SEED if changes.get("seed") is None else changes["seed"]
        return _WritingTask(tokens, settings, forbidden, seed, tuple(stop), doubled)

    def _text(self, task: "_WritingTask", tokens: Iterator[int]) -> Iterator[str]:
        """The text of new tokens, up to a stop text."""
        pieces = self._pieces(task, tokens)
        return until(pieces, task.stop) if task.stop else pieces

    def _pieces(self, task: "_WritingTask", tokens: Iterator[int]) -> Iterator[str]:
        detokenizer, skip_space = Detokenizer(self.tokenizers.target, task.prompt), task.skip_space
        for token in tokens:
            if piece := detokenizer.push(token):
                yield piece.removeprefix(" ") if skip_space else piece
                skip_space = False
        if piece := detokenizer.end():
            yield piece

    @torch.inference_mode()
    def _tokens(self, task: "_WritingTask", sample: int, draft: Draft[Any] | None) -> Iterator[int]:
        """The new tokens of one text."""
        context, settings, tokens = self.config.model.max_length, task.settings, list(task.prompt)
        past = [token for token in tokens if token != EOS]  # the whole text, also what the context has left behind
        written = 0
        for stretch in itertools.count():
            if len(tokens) > context:
                tokens = tokens[-max(1, context // 2) :]
            # The last token written is not read, so it takes no place.
            room = min(context - len(tokens) + 1, settings.max_new_tokens - written)
            how: dict[str, Any] = {
                "config": dataclasses.replace(settings, min_length=max(0, settings.min_length - written)),
                "eos_id": EOS,
                "forbidden_ids": task.forbidden,
                "max_length": room,
                "seed": _mixed(task.seed, sample, stretch),
            }
            if draft is not None:
                new_tokens = speculate(self.model, tokens, draft=draft, exact=self._exact, device=self._device, **how)
            else:
                prompt = torch.tensor([tokens], device=self._device)
                rules = self._rules(settings, limits=[settings.max_new_tokens - written], past=past)
                new_tokens = generate(self.model, self.model.start(1), prompt, past=tuple(past), rules=rules, **how)
            before = written
            for token in new_tokens:
                tokens.append(token)
                past.append(token)
                written += 1
                yield token
            if written - before < room or written == settings.max_new_tokens:
                break

    # ------------------------------------------------------- lines, in detail

    def _answers(
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
    ) -> Iterator[Answer]:
        cut = partial(self._cut, packed=packed)
        return answers(
            lines,
            cut=cut if required is None else partial(required.cut, by=cut),
            solve=solve,
            join=answer,
            budget=budget,
            exact=self._exact,
            workers=1 if self._engine is not None else worker_count(self._device, processes=self.processes),
            processes=self.processes,
            first_line=first_line,
            done=done,
        )

    def _packed(self, settings: DecodingConfig) -> int | None:
        """Tokens of several sentences that are translated together at most; None: as many as the model takes."""
        return {LineSplit.auto: self.joined_length, LineSplit.sentences: 0, LineSplit.long: None}[settings.split]

    def _cut(self, window: Sequence[Line], *, first: int, packed: int | None = None) -> Cut:
        longest = self.config.data.max_length
        if self.config.task is Task.tagging:
            return cut_words(window, self.tokenizers.source, max_length=longest, first=first)
        return cut_text(window, self.tokenizers.source, max_length=longest, first=first, packed=packed)

    def _inspector(self, bounds: Bounds | None) -> Inspector:
        bounds = bounds or Bounds()
        usual = bounds.usual_length_ratio or self.usual_length_ratio or 1.0
        return Inspector(self.model, self.tokenizers, usual_length_ratio=usual, bounds=bounds)

    @torch.inference_mode()
    def _search(
        self, pieces: Sequence[Piece], settings: DecodingConfig, *, seed: int, prefixes: Sequence[Prefix] = ()
    ) -> tuple[list[list[Hypothesis]], list[float]]:
        source, source_mask = self._source(pieces)
        most = [most_tokens(settings, len(piece.ids) - 1) for piece in pieces]
        for row, prefix in enumerate(prefixes):
            if prefix.most_tokens:
                most[row] = max(most[row], prefix.most_tokens + SLACK)
        if self.config.model.positions is Positions.learned:
            before = [len(piece.ids) * self.config.translates_decoder_only for piece in pieces]  # the source takes room
            room = [self.config.model.max_length - length for length in before]
            most = [min(pair) for pair in zip(most, room, strict=True)]
        fewest = []
        if settings.min_length_ratio:
            fewest.append(FewestTokens([fewest_tokens(settings, len(piece.ids) - 1) for piece in pieces], eos_id=EOS))
        model, forbidden, rules = self.model, self._forbidden(settings), [*fewest, *self._rules(settings, limits=most)]
        coverage = None
        if settings.coverage_penalty:
            model = Attending(self.model)
            mask = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
            coverage = Coverage(settings.coverage_penalty, model.attention, mask)
        if any(prefix.most_tokens for prefix in prefixes):
            rule = Prefixed(model, prefixes, self._prefix_reader().growth)
            model, rules, forbidden = rule.model, [Struck(forbidden, self._device), *rules, rule], ()
        result = search(
            model,
            self.model.start(source, source_mask=source_mask),
            torch.full((len(pieces), 1), BOS, device=self._device),
            config=settings,
            eos_id=EOS,
            forbidden_ids=forbidden,
            rules=rules,
            coverage=coverage,
            max_length=most,
            seed=seed,
            row_seeds=[_mixed(piece.line, piece.part) for piece in pieces],
            requirements=self._requirements(pieces),
        )
        if settings.mbr is not Utility.none:
            return self._least_risk(result, settings)
        return result.hypotheses, result.margins

    def _alternatives(
        self, piece: Piece, prefix: Prefix, settings: DecodingConfig, *, count: int, seed: int
    ) -> list[Hypothesis]:
        """Outputs that differ in what they write behind the prefix, scored by that; one of a later part of a line."""
        if piece.part:
            return self._search([piece], settings, seed=seed)[0][0]
        source, source_mask = self._source([piece])
        ways = next_tokens(
            self.model,
            self.model.start(source, source_mask=source_mask),
            torch.full((1, 1), BOS, device=self._device),
            prefix,
            surfaces=self._prefix_reader().surfaces,
            eos_id=EOS,
            forbidden_ids=self._forbidden(settings),
            min_length=fewest_tokens(settings, len(piece.ids) - 1),
            count=count,
        )
        begin = [dataclasses.replace(NO_PREFIX, tokens=(*prefix.tokens, *way.tokens)) for way in ways]
        found, _ = self._search([piece] * len(begin), settings, seed=seed, prefixes=begin)
        return [
            dataclasses.replace(hypotheses[0], score=way.log_prob) for hypotheses, way in zip(found, ways, strict=True)
        ]

    def _least_risk(
        self, candidates: SearchResult, settings: DecodingConfig
    ) -> tuple[list[list[Hypothesis]], list[float]]:
        """Of each piece's candidates the n_best by expected utility, which becomes their score."""
        found = SearchResult([], [])
        for hypotheses, margin in zip(candidates.hypotheses, candidates.margins, strict=True):
            texts = [one_line(self.tokenizers.target.decode(hypothesis.tokens)) for hypothesis in hypotheses]
            log_probs = [hypothesis.log_prob for hypothesis in hypotheses]
            best, lead = least_risk(texts, log_probs, utility=settings.mbr, keep=settings.n_best)
            found.hypotheses.append([dataclasses.replace(hypotheses[index], score=mean) for index, mean in best])
            found.margins.append(min(margin, lead / sensitivity_of(self.model)))
        return found.hypotheses, found.margins

    def _forbidden(self, settings: DecodingConfig) -> tuple[int, ...]:
        return (*FORBIDDEN, *token_ids(settings.suppress_tokens, self.tokenizers.target))

    def _rules(self, settings: DecodingConfig, *, limits: Sequence[int], past: Sequence[int] = ()) -> list[Rule]:
        """Those of settings that need the tokenizer; arguments as for SuppressedText."""
        if not settings.suppress_text:
            return []
        texts, target = tuple(settings.suppress_text), self.tokenizers.target
        if texts not in self._phrases:  # kept: it learns from each batch what follows from which end of text
            phrases = {*texts, *(normal for text in texts if (normal := target.normalise(text)).strip())}
            self._phrases[texts] = Phrases(phrases, surfaces=surfaces(target), eos_id=EOS)
        return [SuppressedText(self._phrases[texts], limits=limits, past=past)]

    def _requirements(self, pieces: Sequence[Piece]) -> Requirements | None:
        if not any(piece.constraints for piece in pieces):
            return None
        if self._phrase_tokenizer is None:
            self._phrase_tokenizer = PhraseTokenizer(self.tokenizers.target)
        return Requirements(
            [self._phrase_tokenizer.required(piece.constraints) for piece in pieces], self._phrase_tokenizer.classes
        )

    @torch.inference_mode()
    def _label(self, pieces: Sequence[Piece]) -> tuple[list[Tensor], list[float]]:
        """Log-probabilities of labels for each piece, (1, labels) or for tagging (words, labels), and leads in nats."""
        source, source_mask = self._source(pieces)
        log_probs = self.model(source, source_mask=source_mask).log_softmax(dim=-1, dtype=torch.float32).cpu()
        if self.config.task is Task.tagging:
            found = [log_probs[row, list(piece.words)] for row, piece in enumerate(pieces)]
        else:
            found = list(log_probs.unsqueeze(1))
        if log_probs.shape[-1] == 1:
            return found, [math.inf] * len(pieces)
        leads = [rows.topk(2, dim=1).values for rows in found]
        return found, [float((lead[:, 0] - lead[:, 1]).min()) for lead in leads]

    def _source(self, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor | None]:
        """Source ids (batch, length), and their mask where something is padded."""
        ids, mask = padded([np.array(piece.ids) for piece in pieces], padding=PAD)
        source = torch.from_numpy(ids).to(self._device)
        return source, None if mask.all() else torch.from_numpy(mask).to(self._device)

    def _prefix_reader(self) -> PrefixReader:
        """It takes a moment to make, the time of a few lines."""
        if self._prefixes is None:
            # A table of positions ends; elsewhere far more than any line that the model was trained on.
            most = int(min(self.config.longest_side - 1, LONGEST * self.config.data.max_length))
            self._prefixes = PrefixReader(self.tokenizers.target, most_tokens=most)
        return self._prefixes

    def _candidate(self, found: list[list[Hypothesis]], rank: int, prefix: Prefix = NO_PREFIX) -> Candidate:
        """The output of a rank: the pieces' outputs of that rank, or their last where a piece has fewer."""
        chosen = [hypotheses[min(rank, len(hypotheses) - 1)] for hypotheses in found]
        texts = [one_line(self.tokenizers.target.decode(hypothesis.tokens)) for hypothesis in chosen]
        texts[:1] = [prefix.completed(texts[0]) if texts else prefix.text]
        return Candidate(
            text=rejoined(texts),
            score=math.fsum(hypothesis.score for hypothesis in chosen) / max(len(chosen), 1),
            log_prob=math.fsum(hypothesis.log_prob for hypothesis in chosen),
            tokens=sum(len(hypothesis.tokens) + hypothesis.finished for hypothesis in chosen),
            parts=tuple(texts) if len(texts) > 1 else (),
        )

    def _check_engine(self, action: str) -> None:
        if self._engine is not None:
            raise DecodingError(f"engine={self._engine.name} translates only; to {action} use engine=torch.")

    def _check_task(self, *tasks: Task) -> None:
        uses = {
            Task.translation: "translates: use translate, or seq2seq-translate on the command line",
            Task.language_modelling: "is a language model: use generate, or seq2seq generate",
            Task.classification: "labels lines: use predict, or seq2seq predict",
            Task.tagging: "labels words: use predict, or seq2seq predict",
        }
        if self.config.task not in tasks:
            raise DecodingError(f"This model {uses[self.config.task]}.")

    def _check_alone(self, what: str) -> None:
        if isinstance(self.model, Combined):
            raise DecodingError(f"These are several models together, and {what} needs one by itself; load one.")


@dataclasses.dataclass(frozen=True, slots=True)
class _WritingTask:
    """What a language model is asked to write."""

    prompt: list[int]
    settings: DecodingConfig
    forbidden: Sequence[int]
    seed: int
    stop: tuple[str, ...]
    skip_space: bool


def _mixed(*numbers: int) -> int:
    """One number for several, different for different ones below 2 ** 32."""
    return sum(number << 32 * place for place, number in enumerate(numbers))
