"""Beam search: the most probable ways to go on, followed side by side (Sutskever et al. 2014; Wu et al. 2016)."""

import bisect
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

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


@torch.no_grad()
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
    may_end = torch.arange(2 * beam_size + 1, device=device) < beam_size
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

    # Of the sentences still searched, in order:
    active = np.arange(len(limits))
    scores = torch.zeros(len(limits), 1, device=device, dtype=precise(device))  # log-probabilities of live hypotheses
    last_penalty = scores.new_tensor([penalties[limit] for limit in limits])
    last_reward = scores.new_tensor([rewards[limit] for limit in limits]) if rewards[-1] else None
    to_beat = torch.full_like(last_penalty, NEVER)  # the worst score kept, once there are n_best
    ended = torch.zeros(len(limits), dtype=torch.int64, device=device)  # hypotheses that have finished
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
        if choice is not None:
            own_ends = (own + plain[:, eos_id].view_as(scores)) if altered else None
            values, parents, words, closing, live, live_values, margins = choice.choose(
                log_probs.view(*scores.shape, -1), scores, at_limit, length=length, ended=ended, own_ends=own_ends
            )
        # Twice the beam, because up to beam_size of them end; and one, to see by how much it missed its place.
        elif num_beam_groups == 1:
            values, parents, words = best_continuations(log_probs.view(*scores.shape, -1), scores, 2 * beam_size + 1)
        else:
            values, parents, words = group_continuations(
                log_probs.view(*scores.shape, -1),
                scores,
                units=active,
                num_groups=num_beam_groups,
                penalty=diversity_penalty,
                beam_size=beam_size,
                eos_id=eos_id,
            )
        own_values = values
        if altered:
            of_beams = plain.view(*scores.shape, -1)
            own_values = (
                own.gather(1, parents) + of_beams[torch.arange(len(scores), device=device).unsqueeze(1), parents, words]
            )
        if choice is None:
            ends = (words == eos_id) & (values > NEVER)
            live_values, places = values.masked_fill(ends, NEVER).topk(beam_size + 1, dim=1)
            live = places[:, :beam_size]
            closing, margins = ends & may_end, _margins(values, ends, live_values)
            if at_limit.any():
                # All end, though no more than beam_size can be kept: the surplus shows how narrowly it was not.
                cut = torch.from_numpy(at_limit).to(device)
                closing[cut], margins[cut] = values[cut] > NEVER, math.inf
                if coverage is not None:  # which may rank them otherwise: only the first beam_size compete
                    closing[cut] &= may_end
                    lead = values[cut, beam_size - 1] - values[cut, beam_size]
                    margins[cut] = lead.nan_to_num(nan=math.inf, posinf=math.inf)
        if closing.any():
            rows = closing.nonzero()[:, 0].tolist()
            columns = [values, own_values, parents, words]
            if coverage is not None:
                columns.append(uncovered.view(scores.shape).gather(1, parents))
            for row, *candidate in zip(rows, *(x[closing].tolist() for x in columns), strict=True):
                finished[active[row]].add(_Candidate(*candidate), length)
            to_beat = scores.new_tensor([finished[sentence].to_beat for sentence in active])
            ended += closing.sum(dim=1)

        parents, words = parents.gather(1, live), words.gather(1, live)
        ripe = ended >= enough
        if choice is not None and patience:
            behind, lead = choice.behind(live_values[:, 0], to_beat, length=length)
            ripe, margins = ripe | behind, torch.minimum(margins, lead)
        trail.add(active, parents, words, margins)
        bound = live_values[:, 0] / last_penalty
        if last_reward is not None:
            bound = bound + last_reward
        hopeless, decided = torch.stack([bound <= to_beat, ripe]).cpu().numpy()
        decided |= at_limit
        done = hopeless | decided
        if num_beam_groups > 1:  # when a group ends decides what those after it may write, too
            for row in np.flatnonzero(~done):
                finished[active[row]].stop(float(bound[row]))
        going_on = torch.arange(len(active), device=device)
        if done.any():
            alive = torch.from_numpy(~done).to(device)
            going_on = remaining(alive) if num_beam_groups == 1 else going_on[alive]  # groups stand side by side
            for row in np.flatnonzero(hopeless & ~decided):
                finished[active[row]].stop(float(bound[row]))
            active = active[going_on.cpu().numpy()]
            parents, words, live_values, to_beat, last_penalty, ended = (
                x[going_on] for x in (parents, words, live_values, to_beat, last_penalty, ended)
            )
            last_reward = None if last_reward is None else last_reward[going_on]
        if not len(active):
            break
        origins = (going_on.unsqueeze(1) * scores.shape[1] + parents).flatten()
        state.select(origins)
        if coverage is not None:
            coverage.select(origins)
        scores, tokens = live_values[:, :beam_size], words.view(-1, 1)
        if rules:
            written = torch.cat([written[origins], tokens], dim=1)
        if altered:
            own = own_values.gather(1, live)[going_on]
        if choice is not None:
            choice.keep(going_on)

    if choice is not None:
        for best in choice.best_efforts:
            finished[best.sentence].add(_Candidate(best.value, best.log_prob, best.parent, eos_id), best.length)
    result = trail.result(finished, eos_id, stretch=stretch(rules))
    if num_beam_groups == 1:
        return result

    def ahead(unit: int, a: Hypothesis, b: Hypothesis) -> float:
        lengths = len(a.tokens) + a.finished, len(b.tokens) + b.finished
        return finished[unit].lead(a.score, lengths[0], b.score, lengths[1]) / stretch(rules)

    return merged(result, num_groups=num_beam_groups, n_best=wanted, lead=ahead)


def _margins(values: Tensor, ends: Tensor, live_values: Tensor) -> Tensor:
    """By how much each sentence's step could have gone another way, in nats.

    Two decisions: which hypotheses live on, and which end tokens are among the first beam_size.

    Args:
        values: of the candidates, best first, (sentences, 2 * beam_size + 1)
        ends: which of them are end tokens.
        live_values: of the beam_size + 1 best others.
    """
    beam_size = live_values.shape[1] - 1
    lived = live_values[:, -2] - live_values[:, -1]
    ended = values.masked_fill(~ends, math.inf)[:, :beam_size].amin(dim=1) - values[:, beam_size]
    missed = values[:, beam_size - 1] - values.masked_fill(~ends, NEVER)[:, beam_size:].amax(dim=1)
    # Not a number: minus infinity against itself, nothing against nothing.
    gaps = torch.stack([lived, ended, missed]).nan_to_num(nan=math.inf, posinf=math.inf)
    return gaps.amin(dim=0)


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
        self.steps: list[tuple[NDArray[np.int64], Tensor, Tensor, Tensor]] = []

    def add(self, sentences: NDArray[np.int64], parents: Tensor, words: Tensor, margins: Tensor) -> None:
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
        # All steps at once: each transfer from another device waits for it.
        step_parents, step_words, step_margins = (torch.cat(column).cpu().numpy() for column in columns)
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
