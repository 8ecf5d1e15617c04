"""One call to translate lines: its settings checked, the search for its pieces chosen, its answers put together."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from seq2seq.answering import Answer
from seq2seq.config import DecodingConfig, LineSplit, Search, Task, Utility
from seq2seq.data.glossary import Glossary
from seq2seq.data.lines import Line, Note
from seq2seq.data.pieces import Piece
from seq2seq.data.prefixes import NO_PREFIX, PrefixFeed
from seq2seq.decoding import Hypothesis, SearchResult
from seq2seq.decoding.alternatives import completing
from seq2seq.errors import DecodingError
from seq2seq.evaluation.alignment import TOGETHER, Aligner, AlignmentSettings, aligned
from seq2seq.inspection import Found
from seq2seq.line_constraints import LineConstraints
from seq2seq.model.transformer import EncoderDecoder
from seq2seq.piece_search import PieceSearch
from seq2seq.placement import Placement
from seq2seq.signals.bounds import Bounds
from seq2seq.trained import DEFAULT_SEED, Trained


@dataclass(frozen=True, slots=True)
class Demands:
    """What a call to translate asks for beside its settings: the arguments of `Translator.translate_stream`."""

    prefixes: Iterable[Line | str | None] | None
    alternatives: int | None
    alignments: AlignmentSettings | None
    bounds: Bounds | None
    retry: bool
    constraints: Iterable[Sequence[str]] | None
    glossary: Glossary | None
    keep_placeholders: bool

    @property
    def phrases(self) -> bool:
        """Whether outputs must hold phrases."""
        return self.constraints is not None or self.glossary is not None or self.keep_placeholders


def translated(
    trained: Trained,
    searcher: PieceSearch,
    lines: Iterable[Line | str | None],
    demands: Demands,
    *,
    decoding: DecodingConfig | None,
    changes: dict[str, Any],
    first_line: int,
    done: int | None,
) -> Iterator[Answer]:
    """An answer for each line; arguments as for `Translator.translate_stream`, checked before anything is read."""
    trained.check_task(Task.translation)
    settings = trained.settings(decoding, **changes)
    _check(trained, settings, demands)
    alternatives = demands.alternatives
    if alternatives is not None:
        settings = completing(settings, changes, alternatives)
    # A text that is given may be of several sentences, as its line.
    packed = trained.packed(settings) if demands.prefixes is None and alternatives is None else None
    seed = DEFAULT_SEED if changes.get("seed") is None else changes["seed"]
    before = done or 0
    engine = None if trained.engine is None else trained.engine.solver(settings, seed=seed, done=before)
    feed = required = None
    if demands.prefixes is not None:
        feed = PrefixFeed(demands.prefixes, trained.prefix_reader, first_line=first_line, done=before)
        lines = feed.beside(lines)
    if demands.phrases:
        required = LineConstraints(
            demands.constraints,
            demands.glossary,
            Placement(searcher, settings),
            normalise=trained.tokenizers.target.normalise,
            placeholders=demands.keep_placeholders,
            first_line=first_line,
            done=before,
        )

    def find(pieces: Sequence[Piece], settings: DecodingConfig) -> Found:
        if engine is not None:
            result = SearchResult(*engine(pieces))
            if settings.mbr is not Utility.none:
                return searcher.least_risk(result, settings)
            return result.hypotheses, result.margins
        begin = [feed.of(piece.line, piece.part) if feed else NO_PREFIX for piece in pieces]
        if alternatives is not None:
            each = zip(pieces, begin, strict=True)
            found = [searcher.alternatives(*one, settings, count=alternatives, seed=seed) for one in each]
            return found, [math.inf] * len(pieces)  # each by itself
        return searcher.search(pieces, settings, seed=seed, prefixes=begin)

    def solve(pieces: Sequence[Piece]) -> Found:
        return find(pieces, settings)

    def answer(line: Line, notes: tuple[Note, ...], found: list[list[Hypothesis]]) -> Answer:
        prefix = feed.take() if feed else NO_PREFIX
        notes = (*notes, *prefix.notes)
        if any(not hypotheses[0].finished for hypotheses in found):
            notes = (*notes, Note.unfinished)
        ranks = range(settings.n_best if alternatives is None else alternatives)
        candidates = (searcher.candidate(found, rank, prefix) for rank in ranks)
        return Answer(line.text, tuple(candidates), notes)

    rows = settings.beam_size if settings.search is Search.beam else settings.num_candidates
    where: dict[str, Any] = {"budget": settings.batch_tokens // rows, "first_line": first_line, "done": done}
    where["packed"] = packed
    if trained.engine is not None:
        return trained.answers(lines, solve, answer, workers=trained.engine.workers(settings), **where)
    where |= {"required": required, "learning": bool(settings.suppress_text)}
    inspector, first = trained.inspector(demands.bounds), first_line + before
    if demands.bounds is None and not demands.retry:
        later = inspector.later(answer, partial(trained.cut, packed=packed), first=first)
        found = trained.answers(lines, solve, later, **where)
    else:
        inspected = inspector.solver(find, settings, retry=demands.retry)
        found = trained.answers(lines, inspected, inspector.at_once(answer, first=first), **where)
    if required is not None:
        found = required.reported(found)
    if demands.alignments is None:
        return found
    # Where the next line may be long in coming, no answer waits for another.
    together = 1 if done is None and not isinstance(lines, Sequence) else TOGETHER
    return aligned(found, aligner(trained, demands.alignments), together=together, packed=packed)


def _check(trained: Trained, settings: DecodingConfig, demands: Demands) -> None:
    """Refuse what does not go together.

    Raises:
        DecodingError: with the reason.
    """
    trained.forbidden(settings)  # says what is no token
    if settings.coverage_penalty and trained.engine is None and not isinstance(trained.model, EncoderDecoder):
        raise DecodingError("coverage_penalty needs one model with an encoder; leave it out with several.")
    if demands.phrases:
        trained.check_engine("require phrases")
        _check_phrases(settings, demands)
    if demands.prefixes is not None or demands.alternatives is not None:
        if settings.split is LineSplit.sentences:
            raise DecodingError("split=sentences does not go with prefixes or alternatives; use split=long.")
        trained.check_engine("begin with a given text or show alternatives")
    if demands.alternatives is not None:
        if demands.retry:
            raise DecodingError("retry has no effect on alternatives, which differ by intent; leave it out.")
        if settings.suppress_text:
            raise DecodingError("suppress_text has no effect on how alternatives begin; leave it out.")
    if demands.bounds is not None or demands.retry or demands.alignments is not None:
        trained.check_engine("measure signals, try again or align words")


def _check_phrases(settings: DecodingConfig, demands: Demands) -> None:
    if demands.alternatives is not None:
        raise DecodingError("alternatives have no effect with constraints, glossary or keep_placeholders.")
    if demands.keep_placeholders and demands.prefixes is not None:  # one may hold more placeholders than the line
        raise DecodingError("keep_placeholders does not go with prefixes; leave one of them out.")
    if demands.retry:
        raise DecodingError("retry does not go with constraints, glossary or keep_placeholders; leave it out.")
    if settings.search is not Search.beam or settings.beam_size < 2:
        raise DecodingError(
            "constraints, glossary and keep_placeholders need search=beam with a beam_size of at least 2; set these, "
            "or leave the phrases out."
        )
    if settings.num_beam_groups > 1 or settings.coverage_penalty:
        name = "num_beam_groups" if settings.num_beam_groups > 1 else "coverage_penalty"
        raise DecodingError(f"{name} does not go with constraints, glossary or keep_placeholders; leave it out.")


def aligner(trained: Trained, alignments: AlignmentSettings) -> Aligner:
    """What links words by a model's attention.

    Raises:
        DecodingError: the model does not translate, or a setting is impossible.
    """
    trained.check_alone("alignments")
    trained.check_engine("align words")
    return Aligner(trained.config, trained.model, trained.tokenizers, alignments)
