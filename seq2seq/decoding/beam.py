"""Beam search: the most probable ways to go on, followed side by side (Sutskever et al. 2014; Wu et al. 2016)."""

import bisect
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.config import LengthNormalisation
from seq2seq.decoding.constrained import ConstrainedChoice, Requirements
from seq2seq.decoding.coverage import Coverage
from seq2seq.decoding.decodable import NO_OUTPUT, Decodable, Hypothesis, SearchResult, StateT
from seq2seq.decoding.diverse import group_continuations, merged
from seq2seq.decoding.greedy import greedy_search
from seq2seq.decoding.length_penalty import penalty_table, reward_table, row_limits
from seq2seq.decoding.logits import NEVER, best_continuations, log_probabilities, precise
from seq2seq.decoding.remaining import remaining
from seq2seq.decoding.rules import Rule, obeyed, stretch
from seq2seq.errors import DecodingError
from seq2seq.model.combined import Combined

Values = NDArray[np.floating[Any]]
"""Log-probabilities of some hypotheses of each sentence, (sentences, number), or of one, (sentences,)."""


@torch.no_grad()
@np.errstate(invalid="ignore")  # minus infinity less itself
def beam_search(
    model: Decodable[StateT],
    state: StateT,
    prompt: Tensor,
    *,
    eos_id: int,
    forbidden_ids: Sequence[int] = (),
    max_length: int | Sequence[int] | Tensor,
    min_length: int = 0,
    length_normalisation: LengthNormalisation = LengthNormalisation.average,
    length_penalty: float = 1.0,
    beam_size: int = 5,
    n_best: int = 1,
    patience: float = 0.0,
    num_beam_groups: int = 1,
    diversity_penalty: float = 0.0,
    coverage: Coverage | None = None,
    rules: Sequence[Rule] = (),
    requirements: Requirements | None = None,
) -> SearchResult:
    """Follow the beam_size most probable live hypotheses of every sentence.

    At every step all one-token continuations of a sentence's live hypotheses are ranked by log-probability. Those
    among the first beam_size that are the end token finish; the first beam_size others live on. The n_best finished
    ones by score are kept. A sentence is done when even the best live hypothesis could not enter them: log-probability
    only falls, so its score can become log_prob / penalty(max_length) + reward(max_length) at best. With patience it is
    also done when patience * beam_size hypotheses have finished (Kasai et al. 2022, "A Call for Clarity in Beam
    Search"), 1 being what most toolkits do. At max_length the first beam_size continuations are closed, the end token
    or not, and compete.

    A beam of one is greedy search: once its only hypothesis has ended, nothing is left to follow.

    Same tokens as Hugging Face `generate` with num_beams=beam_size, num_return_sequences=n_best, early_stopping=True
    for patience 1 and "never" for 0, max_new_tokens=max_length, min_new_tokens=min_length,
    bad_words_ids=forbidden_ids (each in a list), forced_eos_token_id=None and length_penalty=alpha for `average`, 0 for
    `none` (`gnmt` is not there). By default it differs: early_stopping=False bounds a live hypothesis by its present
    length, so that a longer winner may be missed; configurations of Marian force the end token at the maximum length,
    where ours is cut and says so. With "never" it keeps num_beams finished ones and goes on while any of them might be
    displaced (the first n_best are the same). It decides in float32 whatever the model computes in.

    Args:
        model: what predicts.
        state: has one row for each of prompt's; it is used up.
        prompt: ids before the first new token, (rows, prompt_length).
        eos_id: the end token.
        forbidden_ids: tokens never written.
        max_length: most new tokens, the end token included; one number, or one for each row.
        min_length: fewest tokens before the end token; max_length prevails.
        length_normalisation: with length_penalty, turns log-probabilities into scores; see length_penalty.py.
        length_penalty: alpha of the same.
        beam_size: live hypotheses of a sentence.
        n_best: finished ones kept; at most beam_size.
        patience: times beam_size are the finished ones after which a sentence is done; 0 = however many, until no live
            one can win.
        num_beam_groups: of equal size, each a beam search of its own, with patience for its own hypotheses, that keeps
            away from the tokens of those before it; see diverse.py. Their outputs are ranked together.
        diversity_penalty: nats for each beam of an earlier group that has just written the token; values and scores
            have it, log_prob does not.
        coverage: adds its penalty to the scores of finished hypotheses; None for none.
        rules: what tokens a hypothesis may write next, by what it has written; all decisions go by what they give.
        requirements: phrases that outputs must hold, each row its own; with a beam of at least 2, one group and no
            coverage. How beams are then shared out, and when a row with phrases is done, is told in constrained.py;
            rows without are searched as ever.

    Returns:
        for each row up to n_best different hypotheses (fewer only when fewer exist).

    Raises:
        ValueError: an argument out of range.
        DecodingError: the model's output is not a number, or leaves no token to choose.
    """
    if patience < 0:
        raise ValueError(f"patience ({patience}) must be 0 or more")
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n_best ({n_best}) must be from 1 to beam_size ({beam_size})")
    if num_beam_groups < 1 or beam_size % num_beam_groups:
        raise ValueError(f"num_beam_groups ({num_beam_groups}) must divide beam_size ({beam_size})")
    if requirements is not None and (beam_size == 1 or num_beam_groups > 1 or coverage is not None):
        raise ValueError("requirements need a beam_size of at least 2, one group and no coverage")
    if beam_size == 1:
        return greedy_search(
            model,
            state,
            prompt,
            eos_id=eos_id,
            forbidden_ids=forbidden_ids,
            max_length=max_length,
            min_length=min_length,
            length_normalisation=length_normalisation,
            length_penalty=length_penalty,
            rules=rules,
        )
    device = prompt.device
    limits = np.array(row_limits(max_length, prompt.shape[0]), dtype=np.int64)
    wanted = n_best
    if num_beam_groups > 1:  # from here on a group is what a sentence is otherwise
        each = torch.arange(len(limits), device=device).repeat_interleave(num_beam_groups)
        state.select(each)
        if coverage is not None:
            coverage.select(each)
        prompt, limits = prompt[each], limits.repeat(num_beam_groups)
        n_best = beam_size = beam_size // num_beam_groups
    longest = int(limits.max(initial=0))
    penalties = penalty_table(longest, normalisation=length_normalisation, alpha=length_penalty)
    rewards = reward_table(longest, normalisation=length_normalisation, alpha=length_penalty)
    forbidden = torch.tensor(forbidden_ids, dtype=torch.long, device=device)
    combined = isinstance(model, Combined)
    forbidden_at_first = torch.tensor([*forbidden_ids, eos_id], dtype=torch.long, device=device)
    may_end = np.arange(2 * beam_size + 1) < beam_size
    finished = [_Finished(n_best, penalties, rewards) for _ in limits]
    if coverage is not None:
        for unit, pool in enumerate(finished):
            pool.slack = coverage.slack(unit // num_beam_groups) / int(limits[unit])
    choice = None
    if requirements is not None:
        choice = ConstrainedChoice(
            requirements, beam_size=beam_size, eos_id=eos_id, penalties=penalties, rewards=rewards, device=device
        )
    trail = _Trail()

    # Of the sentences still searched, in order. What is a dozen numbers for each is numpy's, which takes a fraction of
    # torch's time for so few.
    active = np.arange(len(limits))
    scores = torch.zeros(len(limits), 1, device=device, dtype=precise(device))  # log-probabilities of live hypotheses
    last_penalty, last_reward = (np.array([table[limit] for limit in limits]) for table in (penalties, rewards))
    to_beat = np.full(len(limits), NEVER)  # the worst score kept, once there are n_best
    ended = np.zeros(len(limits), dtype=np.int64)  # hypotheses that have finished
    each_keeps = math.ceil(wanted / num_beam_groups)
    enough = max(each_keeps, math.ceil(patience * beam_size)) if patience else math.inf
    altered = bool(rules) or num_beam_groups > 1
    tokens, written, own = prompt, prompt[:, :0], scores  # own: scores by the model alone
    for length in range(1, longest + 1):
        logits = model.step(tokens, state)
        if coverage is not None:
            uncovered = coverage.step()
        struck = forbidden_at_first if length <= min_length else forbidden
        plain = log_probs = log_probabilities(logits, forbidden=struck, combined=combined)
        if rules:
            sentences = torch.from_numpy(active.repeat(scores.shape[1]) // num_beam_groups).to(device)
            log_probs = obeyed(log_probs, rules, written, sentences)
        at_limit = limits[active] == length
        by_beam = log_probs.view(*scores.shape, -1)
        if choice is not None:
            own_ends = (own + plain[:, eos_id].view_as(scores)) if altered else None
            chosen = choice.choose(by_beam, scores, at_limit, length=length, ended=ended, own_ends=own_ends)
            best = chosen.values, chosen.parents, chosen.words
        # Twice the beam, because up to beam_size of them end; and one, to see by how much it missed its place.
        elif num_beam_groups == 1:
            best = best_continuations(by_beam, scores, 2 * beam_size + 1)
        else:
            best = group_continuations(
                by_beam,
                scores,
                units=active,
                num_groups=num_beam_groups,
                penalty=diversity_penalty,
                beam_size=beam_size,
                eos_id=eos_id,
            )
        values, parents, words = (x.cpu().numpy() for x in best)
        own_values = values
        if altered:
            sentence = torch.arange(len(scores), device=device).unsqueeze(1)
            of_tokens = plain.view_as(by_beam)[sentence, best[1], best[2]]
            own_values = (own.gather(1, best[1]) + of_tokens).cpu().numpy()
        if choice is not None:
            closing, live, live_values, margins = (x.cpu().numpy() for x in chosen[3:])
        else:
            ends = (words == eos_id) & (values > NEVER)
            others = np.where(ends, NEVER, values)
            ranked = np.argsort(-others, axis=1, kind="stable")[:, : beam_size + 1]
            live, live_values = ranked[:, :beam_size], _picked(others, ranked)
            closing, margins = ends & may_end, _margins(values, ends, live_values)
            if at_limit.any():
                # All end, though no more than beam_size can be kept: the surplus shows how narrowly it was not.
                closing[at_limit], margins[at_limit] = values[at_limit] > NEVER, math.inf
                if coverage is not None:  # which may rank them otherwise: only the first beam_size compete
                    closing[at_limit] &= may_end
                    margins[at_limit] = _gap(values[at_limit, beam_size - 1], values[at_limit, beam_size])
        if closing.any():
            rows, places = closing.nonzero()
            columns = [values, own_values, parents, words]
            if coverage is not None:
                columns.append(_picked(uncovered.view(scores.shape).cpu().numpy(), parents))
            for row, *candidate in zip(rows, *(x[rows, places].tolist() for x in columns), strict=True):
                finished[active[row]].add(_Candidate(*candidate), length)
            to_beat = np.array([finished[sentence].to_beat for sentence in active])
            ended = ended + closing.sum(axis=1)

        parents, words = _picked(parents, live), _picked(words, live)
        ripe = ended >= enough
        if choice is not None and patience:
            behind, lead = choice.behind(live_values[:, 0], to_beat, length=length)
            ripe, margins = ripe | behind, np.minimum(margins, lead)
        trail.add(active, parents, words, margins)
        bound = live_values[:, 0] / last_penalty + last_reward
        hopeless, decided = bound <= to_beat, ripe | at_limit
        done = hopeless | decided
        if num_beam_groups > 1:  # when a group ends decides what those after it may write, too
            for row in np.flatnonzero(~done):
                finished[active[row]].stop(float(bound[row]))
        going_on = np.arange(len(active))
        if done.any():
            # The groups of a sentence stand side by side.
            going_on = remaining(~done) if num_beam_groups == 1 else np.flatnonzero(~done)
            for row in np.flatnonzero(hopeless & ~decided):
                finished[active[row]].stop(float(bound[row]))
            active, parents, words, to_beat, ended, last_penalty, last_reward = (
                x[going_on] for x in (active, parents, words, to_beat, ended, last_penalty, last_reward)
            )
        if not len(active):
            break
        origins = torch.from_numpy((going_on[:, None] * scores.shape[1] + parents).reshape(-1)).to(device)
        state.select(origins)
        if coverage is not None:
            coverage.select(origins)
        scores = torch.from_numpy(live_values[going_on, :beam_size]).to(device)
        tokens = torch.from_numpy(words.reshape(-1, 1)).to(device)
        if rules:
            written = torch.cat([written[origins], tokens], dim=1)
        if altered:
            own = torch.from_numpy(_picked(own_values, live)[going_on]).to(device)
        if choice is not None:
            choice.keep(torch.from_numpy(going_on).to(device))

    if choice is not None:
        for effort in choice.best_efforts:
            last = _Candidate(effort.value, effort.log_prob, effort.parent, eos_id)
            finished[effort.sentence].add(last, effort.length)
    result = trail.result(finished, eos_id, stretch=stretch(rules))
    if num_beam_groups == 1:
        return result

    def ahead(unit: int, a: Hypothesis, b: Hypothesis) -> float:
        lengths = len(a.tokens) + a.finished, len(b.tokens) + b.finished
        return finished[unit].lead(a.score, lengths[0], b.score, lengths[1]) / stretch(rules)

    return merged(result, num_groups=num_beam_groups, n_best=wanted, lead=ahead)


def _margins(values: Values, ends: NDArray[np.bool_], live_values: Values) -> Values:
    """By how much each sentence's step could have gone another way, in nats.

    Two decisions: which hypotheses live on, and which end tokens are among the first beam_size.

    Args:
        values: of the candidates, best first, (sentences, 2 * beam_size + 1)
        ends: which of them are end tokens.
        live_values: of the beam_size + 1 best others.
    """
    beam_size = live_values.shape[1] - 1
    worst_end = np.where(ends, values, math.inf)[:, :beam_size].min(axis=1)
    next_end = np.where(ends, values, NEVER)[:, beam_size:].max(axis=1)
    better = np.stack([live_values[:, -2], worst_end, values[:, beam_size - 1]])
    worse = np.stack([live_values[:, -1], values[:, beam_size], next_end])
    margins: Values = _gap(better, worse).min(axis=0)
    return margins


def _picked(x: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    """Of each row these; as np.take_along_axis, in a quarter of its time for a few rows."""
    return x[np.arange(len(x))[:, None], places]


def _gap(better: Values, worse: Values) -> Values:
    """The difference; infinity where it is none: minus infinity from itself, nothing from nothing."""
    gap = better - worse
    return np.where(np.isnan(gap), math.inf, gap)


class _Candidate(NamedTuple):
    value: float
    """What it is ranked by: its log-probability under the rules."""
    log_prob: float
    """The model's own."""
    parent: int
    """The beam it goes on from, of those alive before this step."""
    token: int
    uncovered: float = 0.0
    """The coverage penalty of all before."""


class _Finished:
    """The n_best hypotheses of one sentence that have ended so far.

    Args:
        n_best: how many to keep.
        penalties: by length; see penalty_table.
        rewards: by length; see reward_table.
    """

    def __init__(self, n_best: int, penalties: list[float], rewards: list[float]) -> None:
        self.n_best, self.penalties, self.rewards = n_best, penalties, rewards
        self.slack = 0.0  # see Coverage.slack, by the most tokens there can be
        self.best: list[tuple[float, int, _Candidate]] = []  # score, length, last token; best first
        self.margin = math.inf

    @property
    def to_beat(self) -> float:
        """The score that a further hypothesis must exceed."""
        return self.best[-1][0] if len(self.best) == self.n_best else NEVER

    def add(self, candidate: _Candidate, length: int) -> None:
        """Keep a hypothesis that ended at this length, if it is among the best."""
        score = candidate.value / self.penalties[length] + self.rewards[length] + candidate.uncovered
        entry = (score, length, candidate)
        bisect.insort(self.best, entry, key=lambda entry: -entry[0])
        if len(self.best) > self.n_best:
            lost = self.best.pop()
            self.margin = min(self.margin, self.lead(*self.best[-1][:2], *lost[:2]))

    def stop(self, bound: float) -> None:
        """Note that no live hypothesis can get a better score than bound, which decides whether it is followed."""
        if len(self.best) == self.n_best and bound > NEVER:
            score, length, _ = self.best[-1]
            self.margin = min(self.margin, abs(self.lead(score, length, bound, length)))

    def final_margin(self) -> float:
        """The narrowest of all decisions about what is kept and in which order."""
        return min([self.lead(*a[:2], *b[:2]) for a, b in pairwise(self.best)] + [self.margin])

    def lead(self, score: float, length: int, other_score: float, other_length: int) -> float:
        """By how many nats a hypothesis of this score and length is ahead of another."""
        # A change of e in a log-probability changes the score by e / penalty: the smaller penalty counts.
        penalty = min(self.penalties[length], self.penalties[other_length])
        return (score - other_score) * penalty / (1 + self.slack * penalty)


class _Trail:
    """Which hypotheses lived on from which, step by step: what their tokens can be read from."""

    def __init__(self) -> None:
        self.steps: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Values]] = []

    def add(
        self, sentences: NDArray[np.int64], parents: NDArray[np.int64], words: NDArray[np.int64], margins: Values
    ) -> None:
        """Note a step of these sentences: parents and words (sentences, beams), margins (sentences,)."""
        self.steps.append((sentences, parents, words, margins))

    def result(self, finished: list[_Finished], eos_id: int, *, stretch: float) -> SearchResult:
        """Read the tokens of finished hypotheses; stretch is that of the rules."""
        if not finished:
            return SearchResult([], [])
        shape = (len(self.steps), len(finished), self.steps[0][1].shape[1])
        parents, words = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        margins = np.array([pool.final_margin() for pool in finished])
        sentences, *columns = zip(*self.steps, strict=True)
        rows = np.concatenate(sentences)
        steps = np.arange(len(sentences)).repeat([len(numbers) for numbers in sentences])
        step_parents, step_words, step_margins = (np.concatenate(column) for column in columns)
        parents[steps, rows], words[steps, rows] = step_parents, step_words
        np.minimum.at(margins, rows, step_margins)

        def hypothesis(sentence: int, score: float, length: int, last: _Candidate) -> Hypothesis:
            tokens, beam = [last.token], last.parent
            for step in reversed(range(length - 1)):
                tokens.append(int(words[step, sentence, beam]))
                beam = int(parents[step, sentence, beam])
            tokens.reverse()
            ended = last.token == eos_id
            return Hypothesis(tuple(tokens[:-1] if ended else tokens), score, last.log_prob, ended)

        if not all(pool.best for pool in finished):
            raise DecodingError(NO_OUTPUT)
        hypotheses = [[hypothesis(sentence, *entry) for entry in pool.best] for sentence, pool in enumerate(finished)]
        return SearchResult(hypotheses, (margins / stretch).tolist())
