"""Which continuations a beam search follows so that every output holds its required phrases.

Lexically constrained decoding with dynamic beam allocation (Post & Vilar 2018), all sentences of a batch at once (Hu et
al. 2019). The beam of a sentence is shared out among *banks*: hypotheses that have written equally many tokens of the
phrases compete with each other, not with those that have fewer to write yet and are more probable for it. The tokens
of the phrases are candidates whatever the model thinks of them. An output may end when it holds all phrases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.data.phrases import RequiredPhrase
from seq2seq.decoding.automaton import DEAD, PhraseTables
from seq2seq.decoding.logits import NEVER, best_continuations, precise


@dataclass(frozen=True, slots=True)
class Requirements:
    """What outputs must hold."""

    phrases: Sequence[Sequence[RequiredPhrase]]
    """Of each row of the prompt; a row may have none."""
    classes: NDArray[np.int64]
    """Of every token of the vocabulary, bits JOINS and ENDS_WORD of data/phrases.py, (vocab,)."""


class Choice(NamedTuple):
    """What becomes of the continuations of a step; sentences are those still searched, in order."""

    values: Tensor
    """Log-probabilities of candidates, best first, (sentences, candidates)."""
    parents: Tensor
    """The hypotheses they go on from."""
    words: Tensor
    """Their last tokens."""
    closing: Tensor
    """Which of them are finished."""
    live: Tensor
    """Places of those that live on, best first, (sentences, beam_size)."""
    live_values: Tensor
    """Log-probabilities of the same, minus infinity where there are fewer."""
    margins: Tensor
    """By how much each sentence's step could have gone another way, in nats, (sentences,)."""


class BestEffort(NamedTuple):
    """An output that ended without all of its phrases, the best there is where none gets them all."""

    sentence: int
    """Row of the prompt."""
    value: float
    """What it is ranked by: its log-probability under the rules."""
    log_prob: float
    """The model's own."""
    parent: int
    """The hypothesis it ends."""
    length: int
    """In tokens, the end token included."""


class ConstrainedChoice:
    """Chooses among continuations, and remembers what of its phrases each live hypothesis has written.

    For a sentence without phrases it chooses as beam search does without it: there is one bank, all may end.

    Args:
        requirements: what the outputs of all sentences must hold.
        beam_size: live hypotheses of a sentence.
        eos_id: the end token.
        penalties: by length; see penalty_table.
        rewards: by length; see reward_table.
        device: of the tensors.
    """

    def __init__(
        self,
        requirements: Requirements,
        *,
        beam_size: int,
        eos_id: int,
        penalties: Sequence[float],
        rewards: Sequence[float],
        device: torch.device,
    ) -> None:
        self._beam_size, self._eos, self._penalties, self._rewards = beam_size, eos_id, penalties, rewards
        self._vocab, sentences = len(requirements.classes), len(requirements.phrases)
        self._tables = PhraseTables(requirements.phrases, requirements.classes, device)
        self._states = self._chosen_states = self._tables.start.unsqueeze(1)  # (sentences, hypotheses, phrases)
        self._total = self._tables.remaining(self._states).sum(dim=2)  # (sentences, 1)
        self._has_phrases = self._total[:, 0] > 0
        self._banks = torch.arange(int(self._total.max()) + 1 if sentences else 1, device=device)
        # The end token is always a candidate where there are phrases: it may be far down in the one bank that may end.
        ends = torch.where(self._has_phrases, eos_id, self._vocab).unsqueeze(1)
        self._always = torch.cat([self._tables.tokens, ends], dim=1)
        self._rows = torch.arange(sentences, device=device)
        # The best output so far that ended without all phrases: how many it has, its score, log-probability, place.
        self._early_met = torch.full((sentences,), -1, device=device)
        self._early_score = torch.full((sentences,), NEVER, dtype=precise(device), device=device)
        self._early_values = self._early_score.unsqueeze(1).expand(-1, 2)  # under the rules, and the model's own
        self._early_place = torch.zeros(sentences, 2, dtype=torch.int64, device=device)  # parent, length
        self.best_efforts: list[BestEffort] = []
        """Of sentences that got none of their candidates finished."""

    def choose(
        self,
        log_probs: Tensor,
        scores: Tensor,
        at_limit: NDArray[np.bool_],
        *,
        length: int,
        ended: NDArray[np.int64],
        own_ends: Tensor | None = None,
    ) -> Choice:
        """Share out the beams.

        Args:
            log_probs: of the next token, (sentences, hypotheses, vocab)
            scores: log-probabilities of the hypotheses so far, (sentences, hypotheses)
            at_limit: which sentences may not go on behind this step, (sentences,)
            length: of the continuations, in tokens.
            ended: how many hypotheses of each have finished, (sentences,)
            own_ends: the model's own log-probabilities of the hypotheses with the end token, (sentences, hypotheses),
                where rules make log_probs others.
        """
        values, parents, words, edge = self._candidates(log_probs, scores)
        states, banks, met, alive = self._reached(parents, words)
        ready = banks == self._total
        ends = words == self._eos
        possible = (values > NEVER) & alive & (ready | ~ends)
        ends = ends & possible
        chosen = possible & (self._turns(possible, banks) < self._beam_size)
        living = possible & ~ends
        lives = living & (self._turns(living, banks) < self._beam_size)
        margins = torch.stack(
            [
                self._lead(values, lives, living, banks),
                self._lead_of_ends(values, chosen, possible, ends, banks),
                self._lead_of_candidates(edge, values, banks, [(lives, living), (chosen, possible)]),
            ]
        ).amin(dim=0)
        live_values, live = values.masked_fill(~lives, NEVER).topk(self._beam_size, dim=1)
        self._chosen_states = states.gather(1, live.unsqueeze(2).expand(-1, -1, states.shape[2]))
        closing = ends & chosen
        self._note_early_ends(log_probs, scores, length, own_ends)
        if at_limit.any():
            cut = torch.from_numpy(at_limit).to(values.device)
            closing = torch.where(cut.unsqueeze(1), possible & ready, closing)
            failing = cut & torch.from_numpy(ended == 0).to(cut.device) & ~closing.any(dim=1)
            if failing.any():
                closing = closing | self._best_efforts(failing, possible, met)
            # Few sentences come so far: those with phrases are decided without neighbours.
            margins = margins.masked_fill(cut, math.inf).masked_fill(cut & self._has_phrases, 0)
        return Choice(values, parents, words, closing, live, live_values, margins)

    def behind(
        self, best: NDArray[Any], to_beat: NDArray[np.float64], *, length: int
    ) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Which sentences with phrases have nothing alive that scores better now than what has finished.

        Hypotheses that have written few tokens of the phrases go on and on beside those that have ended, more probable
        than these as long as they need not write them. So having finished many is no sign that the best is among them,
        and having something probable alive no sign that it is not.

        Args:
            best: log-probability of the best live hypothesis, (sentences,)
            to_beat: the worst score kept, minus infinity where there is room.
            length: of the live hypotheses.

        Returns:
            which, and by how much it is so or not so, in nats.
        """
        gap = best / self._penalties[length] + self._rewards[length] - to_beat
        gap = np.where(np.isnan(gap) | ~self._has_phrases.cpu().numpy(), math.inf, gap)
        return gap <= 0, np.abs(gap)

    def keep(self, going_on: Tensor) -> None:
        """Go on with these sentences, int64 (number,), and the hypotheses that were chosen."""
        self._states = self._chosen_states[going_on]
        self._tables.keep(going_on)
        self._total, self._always, self._has_phrases, self._rows = (
            x[going_on] for x in (self._total, self._always, self._has_phrases, self._rows)
        )
        self._early_met, self._early_score, self._early_values, self._early_place = (
            x[going_on] for x in (self._early_met, self._early_score, self._early_values, self._early_place)
        )

    def _candidates(self, log_probs: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor, "_Edge"]:
        """Every hypothesis with its likeliest tokens, those of the phrases, and the end token: the best first.

        Returns:
            values, parents and words, each (sentences, candidates), and where likelihood ends to make candidates.
        """
        sentences, hypotheses, vocab = log_probs.shape
        count = min(2 * self._beam_size + 1, vocab)
        values, _, words = best_continuations(
            log_probs.reshape(sentences * hypotheses, 1, vocab), scores.reshape(-1, 1), count + 1
        )
        values, words = values.view(sentences, hypotheses, -1), words.view(sentences, hypotheses, -1)
        always = self._always.unsqueeze(1).expand(-1, hypotheses, -1)
        known = always < self._vocab
        always = always.masked_fill(~known, 0)
        always_values = (log_probs.gather(2, always) + scores.unsqueeze(2)).masked_fill(~known, NEVER)
        repeated = (words.unsqueeze(3) == always.masked_fill(~known, -1).unsqueeze(2)).any(dim=3)
        edge = _Edge(values[..., -2:], words[..., -2:])
        values = torch.cat([values.masked_fill(repeated, NEVER)[..., :-1], always_values], dim=2).flatten(1)
        words = torch.cat([words[..., :-1], always], dim=2).flatten(1)
        each = words.shape[1] // hypotheses
        if (missing := self._beam_size - words.shape[1]) > 0:  # of a small vocabulary, at the first step
            values = torch.nn.functional.pad(values, (0, missing), value=NEVER)
            words = torch.nn.functional.pad(words, (0, missing))
        values, order = values.sort(dim=1, descending=True, stable=True)
        return values, (order // each).clamp(max=hypotheses - 1), words.gather(1, order), edge

    def _reached(self, parents: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What candidates are.

        Returns:
            their states; their banks, the tokens that they have of phrases, whole or begun; how many phrases they have;
            whether nothing is in them that must not be.
        """
        states = self._states.gather(1, parents.unsqueeze(2).expand(-1, -1, self._states.shape[2]))
        states = self._tables.after(states, words)
        remaining, begun_anew = self._tables.remaining(states), self._tables.begun_anew(states)
        left = remaining.sum(dim=2)
        banks = self._total - begun_anew.sum(dim=2)
        if states.shape[2]:
            # Of phrases that are begun the one that is furthest counts. If all did, going on with one would be no step
            # forward where it leaves another that begins alike, and beginning again and again were as good.
            banks = banks + (begun_anew - remaining).amax(dim=2)
        banks = torch.where(left == 0, self._total, banks.clamp(min=0))
        return states, banks, (remaining == 0).sum(dim=2), left < DEAD

    def _turns(self, possible: Tensor, banks: Tensor) -> Tensor:
        """When the turn of each possible candidate comes, from 0, where the banks take turns, the fullest first.

        Args:
            possible: which candidates there are, (sentences, candidates), the best first.
            banks: theirs, of the same shape.
        """
        member = (banks.unsqueeze(2) == self._banks) & possible.unsqueeze(2)  # (sentences, candidates, banks)
        sizes = member.sum(dim=1)  # (sentences, banks)
        rank = member.cumsum(dim=1).gather(2, banks.unsqueeze(2)).squeeze(2) - 1
        rank = rank.clamp(0, self._beam_size)  # whoever has so many before it in its own bank is not chosen
        ranks = torch.arange(self._beam_size + 1, device=banks.device).view(1, -1, 1)
        # Before a candidate of rank r: of each bank the first r, and the next one of every fuller bank.
        has = sizes.unsqueeze(1) > ranks  # (sentences, ranks, banks)
        fuller = has.flip(2).cumsum(dim=2).flip(2) - has.long()
        before = torch.minimum(sizes.unsqueeze(1), ranks).sum(dim=2, keepdim=True) + fuller
        return before.flatten(1).gather(1, rank * len(self._banks) + banks)

    def _lead(self, values: Tensor, chosen: Tensor, possible: Tensor, banks: Tensor) -> Tensor:
        """By how much the chosen candidates of each bank lead over the others of the same bank, at least.

        How many of a bank are chosen depends on how many there are, not on their values.
        """
        member = banks.unsqueeze(2) == self._banks
        worst = values.unsqueeze(2).masked_fill(~(member & chosen.unsqueeze(2)), math.inf).amin(dim=1)
        best = values.unsqueeze(2).masked_fill(~(member & (possible & ~chosen).unsqueeze(2)), NEVER).amax(dim=1)
        return (worst - best).amin(dim=1)

    def _lead_of_ends(self, values: Tensor, chosen: Tensor, possible: Tensor, ends: Tensor, banks: Tensor) -> Tensor:
        """By how much the end tokens that finish do so, and the others do not; those are all in the bank that may."""
        inside = chosen & (banks == self._total)
        outside = possible & ~chosen & (banks == self._total)
        last_in = values.masked_fill(~inside, math.inf).amin(dim=1)
        first_out = values.masked_fill(~outside, NEVER).amax(dim=1)
        worst_end = values.masked_fill(~(inside & ends), math.inf).amin(dim=1)
        best_end_out = values.masked_fill(~(outside & ends), NEVER).amax(dim=1)
        return torch.minimum(worst_end - first_out, last_in - best_end_out)

    def _lead_of_candidates(
        self, edge: "_Edge", values: Tensor, banks: Tensor, choices: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """By how much tokens are candidates for their likelihood, where that made a difference.

        Args:
            edge: the least likely of these, and the likeliest that is none.
            values: of all candidates.
            banks: theirs.
            choices: (chosen, possible): candidates that were chosen among the possible ones.
        """
        sentences, hypotheses = edge.values.shape[:2]
        parents = torch.arange(hypotheses, device=values.device).repeat_interleave(2).expand(sentences, -1)
        edge_banks = self._reached(parents, edge.words.flatten(1))[1]
        matters = torch.zeros_like(edge_banks, dtype=torch.bool)
        for chosen, possible in choices:
            member = banks.unsqueeze(2) == self._banks
            worst = values.unsqueeze(2).masked_fill(~(member & chosen.unsqueeze(2)), math.inf).amin(dim=1)
            # A bank of which all are chosen might have had one more.
            all_chosen = ~(member & (possible & ~chosen).unsqueeze(2)).any(dim=1)
            worst = worst.masked_fill(all_chosen, NEVER)
            matters |= edge.values.flatten(1) >= worst.gather(1, edge_banks)
        gaps = edge.values[..., 0] - edge.values[..., 1]
        matters = matters.view(sentences, hypotheses, 2).any(dim=2) & ~gaps.isnan()
        return gaps.masked_fill(~matters, math.inf).amin(dim=1)

    def _note_early_ends(self, log_probs: Tensor, scores: Tensor, length: int, own_ends: Tensor | None) -> None:
        """Keep the best output that ends here without all of its phrases, if it is better than those before."""
        values = log_probs[..., self._eos] + scores  # (sentences, hypotheses)
        ends = torch.full_like(values, self._eos, dtype=torch.int64)
        met = (self._tables.remaining(self._tables.after(self._states, ends)) == 0).sum(dim=2)
        met = met.masked_fill(values == NEVER, -1)
        most = met.amax(dim=1)
        best, parents = values.masked_fill(met < most.unsqueeze(1), NEVER).max(dim=1)
        score = best / self._penalties[length] + self._rewards[length]
        better = (most > self._early_met) | (most == self._early_met) & (score > self._early_score)
        self._early_met = torch.where(better, most, self._early_met)
        self._early_score = torch.where(better, score, self._early_score)
        own = best if own_ends is None else own_ends.gather(1, parents.unsqueeze(1)).squeeze(1)
        self._early_values = torch.where(better.unsqueeze(1), torch.stack([best, own], dim=1), self._early_values)
        place = torch.stack([parents, torch.full_like(parents, length)], dim=1)
        self._early_place = torch.where(better.unsqueeze(1), place, self._early_place)

    def _best_efforts(self, failing: Tensor, possible: Tensor, met: Tensor) -> Tensor:
        """Which candidates finish although they lack phrases: those with the most phrases, if none ended with as many.

        Args:
            failing: which sentences have nothing better, (sentences,)
            possible: which candidates there are, (sentences, candidates)
            met: how many phrases each has.
        """
        most = met.masked_fill(~possible, -1).amax(dim=1)
        early = failing & (self._early_met >= most) & (self._early_met >= 0)
        for sentence, values, place in zip(
            self._rows[early].tolist(), self._early_values[early].tolist(), self._early_place[early].tolist(),
            strict=True,
        ):  # fmt: skip
            self.best_efforts.append(BestEffort(sentence, *values, *place))
        return possible & (met == most.unsqueeze(1)) & (failing & ~early).unsqueeze(1)


class _Edge(NamedTuple):
    """Of each hypothesis the last token that is a candidate for its likelihood, and the first that is not."""

    values: Tensor
    """Log-probabilities of the hypotheses they make, (sentences, hypotheses, 2)"""
    words: Tensor
