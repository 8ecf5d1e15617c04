"""Greedy search: the most probable token at every step."""

from collections.abc import Sequence

from torch import Tensor

from seq2seq.config import LengthNormalisation
from seq2seq.decoding.decodable import Decodable, SearchResult, StateT
from seq2seq.decoding.logits import best_and_lead
from seq2seq.decoding.rules import Rule
from seq2seq.decoding.single import run, written_tokens


def likeliest(log_probs: Tensor, rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The most probable token of each row (the lowest id of equals), and its lead over the second in nats."""
    return best_and_lead(log_probs)


def greedy_search(
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
    rules: Sequence[Rule] = (),
) -> SearchResult:
    """Write the most probable token at every step.

    Arguments, result and errors as for `single.written_tokens`; the margin is the narrowest lead of a token written
    over the next best.
    """
    return run(
        written_tokens(
            model,
            state,
            prompt,
            choose=likeliest,
            eos_id=eos_id,
            forbidden_ids=forbidden_ids,
            max_length=max_length,
            min_length=min_length,
            length_normalisation=length_normalisation,
            length_penalty=length_penalty,
            rules=rules,
        )
    )
