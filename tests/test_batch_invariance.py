"""A line's outputs depend on the line alone, whatever the search: also where rounding could turn a close decision."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seq2seq
from seq2seq.errors import DecodingError
from seq2seq.translator import Translator

SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"search": "greedy"},
    "beam": {"beam_size": 4},
    "patience 0": {"beam_size": 3, "patience": 0.0},
    "patience 2": {"beam_size": 3, "patience": 2.0},
    "n-best": {"beam_size": 4, "n_best": 4},
    "n-best, patience 0": {"beam_size": 3, "n_best": 3, "patience": 0.0, "length_normalisation": "gnmt"},
    "n-best, no normalisation": {"beam_size": 3, "n_best": 2, "length_normalisation": "none"},
    "least length": {"beam_size": 3, "n_best": 2, "min_length": 3},
    "rules": {"beam_size": 3, "n_best": 2, "no_repeat_ngram_size": 2, "repetition_penalty": 1.5, "max_length": 9},
    "greedy rules": {"search": "greedy", "repetition_penalty": 1.3, "min_length": 4, "suppress_text": ["a"]},
    "lengths": {"beam_size": 3, "min_length_ratio": 0.9, "max_length_ratio": 1.0, "suppress_text": ["a"]},
    "reward": {"beam_size": 3, "n_best": 2, "length_normalisation": "reward", "length_penalty": 0.3},
    "coverage": {"beam_size": 4, "n_best": 2, "coverage_penalty": 0.4},
    "diverse": {"beam_size": 4, "n_best": 3, "num_beam_groups": 2, "diversity_penalty": 0.4},
    "sample": {"search": "sample", "seed": 3},
    "sample cut": {"search": "sample", "seed": 2, "min_p": 0.7, "epsilon_cutoff": 0.02},
    "least risk": {"search": "sample", "mbr": "chrf", "mbr_candidates": 4},
    "least risk of a beam": {"beam_size": 4, "mbr": "bleu", "n_best": 2},
    "sample some": {"search": "sample", "seed": 5, "top_k": 5, "top_p": 0.8, "temperature": 1.4, "n_best": 3},
    "sample, ranked": {"search": "sample", "n_best": 3, "length_normalisation": "gnmt", "length_penalty": 0.5},
}
NOISE = 1e-6
"""By how much a neighbour's presence moves each logit here: about what the order of float32 sums does."""


@pytest.fixture(scope="module", params=[(1, 0.02), (0, 0.01)], ids=["encoder-decoder", "decoder-only"])
def translator(request: pytest.FixtureRequest, tiny_checkpoint: Callable[..., Path]) -> Iterator[Translator]:
    """A model of many close decisions, whose logits move a little whenever a sentence is not alone."""
    layers, scale = request.param
    model = seq2seq.load(tiny_checkpoint(max_length=10, seed=3, encoder_layers=layers), device="cpu")
    model.config.decoding.max_length_ratio = 0.1
    with torch.no_grad():
        # A weight of its own: how it is tied to the embeddings depends on the CPU, see model/layout.py.
        model.model.head.weight = torch.nn.Parameter(model.model.head.weight * scale)
    kind, noise = type(model.model), torch.Generator().manual_seed(1)
    step = kind.step

    def shaken(self: Any, tokens: torch.Tensor, state: Any) -> torch.Tensor:
        logits: torch.Tensor = step(self, tokens, state)
        if state.sentences == 1:
            return logits
        return logits + NOISE * (2 * torch.rand(logits.shape, generator=noise) - 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "step", shaken)  # of the class: a search may run a twin of the model
        yield model


def texts(translator: Translator, lines: list[str], **changes: Any) -> list[list[str]]:
    found = translator.translate_stream(lines, **changes)
    return [[candidate.text for candidate in answer.candidates] for answer in found]


@pytest.mark.parametrize("search", SEARCHES)
@settings(max_examples=4)
@given(
    lines=st.lists(st.text(alphabet="abc .", max_size=14), min_size=2, max_size=7),
    batch_tokens=st.sampled_from([1, 60, 10_000]),
    shuffle=st.randoms(use_true_random=False),
)
def test_neighbours_order_and_batches_change_no_candidate(
    translator: Translator, search: str, lines: list[str], batch_tokens: int, shuffle: random.Random
) -> None:
    changes, order = SEARCHES[search], list(range(len(lines)))
    if "coverage_penalty" in changes and translator.config.translates_decoder_only:
        with pytest.raises(DecodingError, match="needs one model with an encoder"):
            translator.translate(lines, **changes)
        return
    if changes.get("search") != "sample":  # a draw belongs to the number of the line
        shuffle.shuffle(order)
    alone = [texts(translator, [line], first_line=number, **changes)[0] for number, line in enumerate(lines)]
    together = texts(translator, [lines[number] for number in order], batch_tokens=batch_tokens, **changes)
    assert together == [alone[number] for number in order]


@pytest.mark.parametrize("search", ["greedy", "n-best", "sample some"])
def test_there_are_close_decisions_and_others(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    """Else the law above would hold because every line is searched for by itself, or because nothing is close."""
    sizes, real = [], translator.searcher.search

    def counted(pieces: Any, *given: Any, **more: Any) -> Any:
        sizes.append(len(pieces))
        return real(pieces, *given, **more)

    monkeypatch.setattr(translator.searcher, "search", counted)
    lines = ["".join(random.Random(seed).choices("abc .", k=8)) + "c" for seed in range(40)]
    texts(translator, lines, **SEARCHES[search])
    assert sizes[0] >= 40 and 0 < len(sizes) - 1 < 40  # lines of two sentences are two pieces
