"""Searches over one Decodable interface: greedy, beam, sampling.

`search` runs the one that a DecodingConfig asks for; `generate` does so for one row, token by token.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from seq2seq.config import DecodingConfig, Search, Utility
from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.constrained import Requirements
from seq2seq.decoding.coverage import Coverage
from seq2seq.decoding.decodable import Decodable, DecodingState, Hypothesis, SearchResult, StateT
from seq2seq.decoding.greedy import greedy_search, likeliest
from seq2seq.decoding.length_penalty import FORMULAS
from seq2seq.decoding.repetition import NoRepeatNgram, RepetitionPenalty
from seq2seq.decoding.rules import Rule
from seq2seq.decoding.sample import drawer, on_device, sample_search, uniform_numbers
from seq2seq.decoding.single import Choose, written_tokens
from seq2seq.model.combined import Combined

__all__ = [
    "FORMULAS",
    "SEARCHES",
    "Decodable",
    "DecodingState",
    "Hypothesis",
    "Requirements",
    "Rule",
    "SearchResult",
    "beam_search",
    "generate",
    "greedy_search",
    "sample_search",
    "search",
]

FILTERS = ("temperature", "top_k", "top_p", "min_p", "epsilon_cutoff")
"""Settings of DecodingConfig that say what is sampled from."""

SEARCHES: dict[Search, tuple[Callable[..., SearchResult], tuple[str, ...]]] = {
    Search.greedy: (greedy_search, ()),
    Search.beam: (beam_search, ("beam_size", "n_best", "patience", "num_beam_groups", "diversity_penalty")),
    Search.sample: (sample_search, ("n_best", *FILTERS)),
}
"""Each search, and the settings of DecodingConfig that are its own."""


def search(
    model: Decodable[StateT],
    state: StateT,
    prompt: Tensor,
    *,
    config: DecodingConfig,
    eos_id: int,
    forbidden_ids: Sequence[int] = (),
    max_length: int | Sequence[int] | Tensor,
    seed: int = 0,
    row_seeds: Sequence[int] | None = None,
    past: Sequence[int] = (),
    rules: Sequence[Rule] = (),
    coverage: Coverage | None = None,
    requirements: Requirements | None = None,
) -> SearchResult:
    """Search as a configuration asks.

    Args:
        model: what predicts, in evaluation mode.
        state: made by the model's `start`, one row for each of prompt's; it is used up.
        prompt: ids before the first new token, (rows, prompt_length), on the model's device; a translation's is the
            start token alone.
        config: which search, and its settings.
        eos_id: the end token.
        forbidden_ids: tokens never written (padding, start, unknown).
        max_length: most new tokens, the end token included; one number, or one for each row.
        seed: of sampling, 0 or more.
        row_seeds: of each row, 0 or more (say, its line number), so that its draw is its own whatever rows are beside
            it; None numbers the rows.
        past: ids that the configuration's rules on repetition count as written before every row.
        rules: what tokens a hypothesis may write next, by what it has written; they come after the configuration's.
        coverage: of beam search, with config.coverage_penalty as its weight.
        requirements: phrases that the outputs must hold; beam search only, with a beam of at least 2.

    Returns:
        for each row its hypotheses, best first, and its margin; with config.mbr all candidates (samples as drawn).

    Raises:
        ValueError: an argument out of range.
        DecodingError: the model's output is not a number, or leaves no token to choose.
    """
    run, own = SEARCHES[config.search]
    settings: dict[str, Any] = {name: getattr(config, name) for name in own}
    if "n_best" in own:
        settings["n_best"] = config.num_candidates
    if config.search is Search.beam:
        settings["coverage"] = coverage
    if config.search is Search.sample:
        settings.update(seed=seed, row_seeds=row_seeds, ranked=config.mbr is Utility.none)
    if requirements is not None:
        if config.search is not Search.beam:
            raise ValueError(f"requirements have no effect with search={config.search.value}; use beam search")
        settings.update(requirements=requirements)
    found = run(
        model,
        state,
        prompt,
        eos_id=eos_id,
        forbidden_ids=forbidden_ids,
        max_length=max_length,
        min_length=config.min_length,
        length_normalisation=config.length_normalisation,
        length_penalty=config.length_penalty,
        rules=[*_rules(config, past), *rules],
        **settings,
    )
    if isinstance(model, Combined):
        found.margins[:] = [margin / model.sensitivity for margin in found.margins]
    return found


def _rules(config: DecodingConfig, past: Sequence[int]) -> Iterator[Rule]:
    """Those that a configuration asks for."""
    if config.repetition_penalty != 1:
        yield RepetitionPenalty(config.repetition_penalty, past=past)
    if config.no_repeat_ngram_size:
        yield NoRepeatNgram(config.no_repeat_ngram_size, past=past)


def generate(
    model: Decodable[StateT],
    state: StateT,
    prompt: Tensor,
    *,
    config: DecodingConfig,
    eos_id: int,
    forbidden_ids: Sequence[int] = (),
    max_length: int,
    seed: int = 0,
    past: Sequence[int] = (),
    rules: Sequence[Rule] = (),
) -> Iterator[int]:
    """Write on from a prompt; the tokens are those of `search` with the same arguments, without the end token.

    Greedy and sampling yield each token as it is made, beam search all of them at the end. Of several samples
    (n_best) the first drawn is written.

    Args:
        model: see search, as for all arguments.
        state: has one row.
        prompt: ids (1, prompt_length)
        config: see search.
        eos_id: see search.
        forbidden_ids: see search.
        max_length: most new tokens; that prompt and new tokens fit the model is the caller's to see to.
        seed: see search.
        past: see search; the prompt is not in it by itself.
        rules: see search.

    Raises:
        ValueError: prompt has not exactly one row, or an argument out of range.
        DecodingError: see search.
    """
    if prompt.shape[0] != 1:
        raise ValueError(f"prompt has {prompt.shape[0]} rows; generate writes one, use search for several")
    if config.search is Search.beam:
        found = search(
            model,
            state,
            prompt,
            config=config,
            eos_id=eos_id,
            forbidden_ids=forbidden_ids,
            max_length=max_length,
            past=past,
            rules=rules,
        )
        yield from found.hypotheses[0][0].tokens
        return
    choose: Choose = likeliest
    if config.search is Search.sample:
        chance = on_device(uniform_numbers([0], seed=seed, draws=1, limits=[max_length]), prompt.device)
        choose = drawer(chance, **{name: getattr(config, name) for name in FILTERS})
    for tokens in written_tokens(
        model,
        state,
        prompt,
        choose=choose,
        eos_id=eos_id,
        forbidden_ids=forbidden_ids,
        max_length=max_length,
        min_length=config.min_length,
        rules=[*_rules(config, past), *rules],
    ):
        token = int(tokens[0])
        if token != eos_id:
            yield token
