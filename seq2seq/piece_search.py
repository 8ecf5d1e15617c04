"""From pieces of lines to hypotheses by a translation model, and from hypotheses to the candidates of an answer."""

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property

import torch

from seq2seq.answering import Candidate
from seq2seq.config import DecodingConfig, Positions, Utility
from seq2seq.data.lines import one_line, rejoined
from seq2seq.data.phrases import Constraint, PhraseTokenizer
from seq2seq.data.pieces import Piece
from seq2seq.data.prefixes import NO_PREFIX, Prefix
from seq2seq.data.tokenizer import BOS, EOS
from seq2seq.decoding import Hypothesis, Requirements, SearchResult, search
from seq2seq.decoding.alternatives import next_tokens
from seq2seq.decoding.coverage import Attending, Coverage
from seq2seq.decoding.lengths import SLACK, FewestTokens, fewest_tokens, most_tokens
from seq2seq.decoding.prefix import Prefixed, Struck
from seq2seq.decoding.rules import Rule
from seq2seq.evaluation.least_risk import least_risk
from seq2seq.model.combined import sensitivity_of
from seq2seq.trained import Trained, mixed


class PieceSearch:
    """Searches with a translation model.

    Args:
        trained: the model.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained = trained

    @torch.inference_mode()
    def search(
        self, pieces: Sequence[Piece], settings: DecodingConfig, *, seed: int, prefixes: Sequence[Prefix] = ()
    ) -> tuple[list[list[Hypothesis]], list[float]]:
        """Of each piece its hypotheses, best first, and by how many nats they were decided."""
        trained = self.trained
        source, source_mask = trained.source(pieces)
        most = self.limits(pieces, settings, prefixes=prefixes)
        fewest = []
        if settings.min_length_ratio:
            fewest.append(FewestTokens([fewest_tokens(settings, len(piece.ids) - 1) for piece in pieces], eos_id=EOS))
        model, forbidden = trained.model, trained.forbidden(settings)
        rules: list[Rule] = [*fewest, *trained.rules(settings, limits=most)]
        coverage = None
        if settings.coverage_penalty:
            model = Attending(trained.model)
            mask = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
            coverage = Coverage(settings.coverage_penalty, model.attention, mask)
        state = model.start(source, source_mask=source_mask)
        if any(prefix.most_tokens for prefix in prefixes):
            rule = Prefixed(model, prefixes, trained.prefix_reader.growth)
            model, rules, forbidden = rule.model, [Struck(forbidden, trained.device), *rules, rule], ()
        result = search(
            model,
            state,
            torch.full((len(pieces), 1), BOS, device=trained.device),
            config=settings,
            eos_id=EOS,
            forbidden_ids=forbidden,
            rules=rules,
            coverage=coverage,
            max_length=most,
            seed=seed,
            row_seeds=[mixed(piece.line, piece.part) for piece in pieces],
            requirements=self._requirements(pieces),
        )
        if settings.mbr is not Utility.none:
            return self.least_risk(result, settings)
        return result.hypotheses, result.margins

    def limits(
        self, pieces: Sequence[Piece], settings: DecodingConfig, *, prefixes: Sequence[Prefix] = ()
    ) -> list[int]:
        """The most tokens of each piece's output, the end token included."""
        config = self.trained.config
        most = [most_tokens(settings, len(piece.ids) - 1) for piece in pieces]
        for row, prefix in enumerate(prefixes):
            if prefix.most_tokens:
                most[row] = max(most[row], prefix.most_tokens + SLACK)
        if config.model.positions is Positions.learned:
            before = [len(piece.ids) * config.translates_decoder_only for piece in pieces]  # it takes room, too
            most = [min(pair) for pair in zip(most, (config.model.max_length - n for n in before), strict=True)]
        return most

    def spelled(self, phrase: Constraint) -> tuple[int, ...]:
        """The tokens that the tokenizer writes a phrase in; none where it cannot be written."""
        required = self._phrase_tokenizer.required([phrase])
        return required[0].spellings[0].tokens if required else ()

    def alternatives(
        self, piece: Piece, prefix: Prefix, settings: DecodingConfig, *, count: int, seed: int
    ) -> list[Hypothesis]:
        """Outputs that differ in what they write behind the prefix, scored by that; one of a later part of a line."""
        trained = self.trained
        if piece.part:
            return self.search([piece], settings, seed=seed)[0][0]
        source, source_mask = trained.source([piece])
        ways = next_tokens(
            trained.model,
            trained.model.start(source, source_mask=source_mask),
            torch.full((1, 1), BOS, device=trained.device),
            prefix,
            surfaces=trained.prefix_reader.surfaces,
            eos_id=EOS,
            forbidden_ids=trained.forbidden(settings),
            min_length=fewest_tokens(settings, len(piece.ids) - 1),
            count=count,
        )
        begin = [dataclasses.replace(NO_PREFIX, tokens=(*prefix.tokens, *way.tokens)) for way in ways]
        found, _ = self.search([piece] * len(begin), settings, seed=seed, prefixes=begin)
        return [
            dataclasses.replace(hypotheses[0], score=way.log_prob) for hypotheses, way in zip(found, ways, strict=True)
        ]

    def least_risk(
        self, candidates: SearchResult, settings: DecodingConfig
    ) -> tuple[list[list[Hypothesis]], list[float]]:
        """Of each piece's candidates the n_best by expected utility, which becomes their score."""
        found = SearchResult([], [])
        for hypotheses, margin in zip(candidates.hypotheses, candidates.margins, strict=True):
            texts = [one_line(self.trained.tokenizers.target.decode(hypothesis.tokens)) for hypothesis in hypotheses]
            log_probs = [hypothesis.log_prob for hypothesis in hypotheses]
            best, lead = least_risk(texts, log_probs, utility=settings.mbr, keep=settings.n_best)
            found.hypotheses.append([dataclasses.replace(hypotheses[index], score=mean) for index, mean in best])
            found.margins.append(min(margin, lead / sensitivity_of(self.trained.model)))
        return found.hypotheses, found.margins

    def candidate(self, found: list[list[Hypothesis]], rank: int, prefix: Prefix = NO_PREFIX) -> Candidate:
        """The output of a rank: the pieces' outputs of that rank, or their last where a piece has fewer."""
        chosen = [hypotheses[min(rank, len(hypotheses) - 1)] for hypotheses in found]
        texts = [one_line(self.trained.tokenizers.target.decode(hypothesis.tokens)) for hypothesis in chosen]
        texts[:1] = [prefix.completed(texts[0]) if texts else prefix.text]
        return Candidate(
            text=rejoined(texts),
            score=math.fsum(hypothesis.score for hypothesis in chosen) / max(len(chosen), 1),
            log_prob=math.fsum(hypothesis.log_prob for hypothesis in chosen),
            tokens=sum(len(hypothesis.tokens) + hypothesis.finished for hypothesis in chosen),
            parts=tuple(texts) if len(texts) > 1 else (),
        )

    def _requirements(self, pieces: Sequence[Piece]) -> Requirements | None:
        if not any(piece.constraints for piece in pieces):
            return None
        return Requirements(
            [self._phrase_tokenizer.required(piece.constraints) for piece in pieces], self._phrase_tokenizer.classes
        )

    @cached_property
    def _phrase_tokenizer(self) -> PhraseTokenizer:
        return PhraseTokenizer(self.trained.tokenizers.target)
