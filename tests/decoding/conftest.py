"""A model small enough to see through, and searches slow enough to be obviously right."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

EOS, PAD = 0, 1


class MarkovState:
    def __init__(self, rows: int) -> None:
        self.length = 0
        self.sentence = torch.arange(rows)

    def select(self, rows: Tensor) -> None:
        self.sentence = self.sentence[rows]


class Markov:
    """The next token depends on sentence, position and last token: logits (sentences, positions, vocab, vocab)."""

    def __init__(self, logits: Tensor, *, noise: float = 0.0, seed: int = 0) -> None:
        self.logits, self.noise = logits, noise
        self.generator = torch.Generator().manual_seed(seed)
        self.rows: list[int] = []  # asked for, step by step

    @classmethod
    def random(
        cls, seed: int, *, sentences: int = 1, positions: int = 5, vocab: int = 4, zeros: float = 0.0
    ) -> "Markov":
        """Zeros: the share of tokens whose probability is 0; the end token and the last one keep theirs."""
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(sentences, positions, vocab, vocab, generator=generator, dtype=torch.float64)
        never = torch.rand(logits.shape, generator=generator) < zeros
        never[..., EOS] = never[..., -1] = False
        return cls(logits.masked_fill(never, -math.inf))

    def noisy(self, noise: float, seed: int) -> "Markov":
        """The same with every logit off by up to this much."""
        return Markov(self.logits, noise=noise, seed=seed)

    def only(self, sentence: int) -> "Markov":
        return Markov(self.logits[sentence : sentence + 1])

    def start(self) -> MarkovState:
        return MarkovState(len(self.logits))

    def prompt(self) -> Tensor:
        return torch.full((len(self.logits), 1), PAD)

    def step(self, tokens: Tensor, state: MarkovState) -> Tensor:
        assert tokens.shape[0] == len(state.sentence)
        logits = self.logits[state.sentence, state.length, tokens[:, -1]]
        state.length += 1
        self.rows.append(len(tokens))
        uniform = torch.rand(logits.shape, generator=self.generator, dtype=logits.dtype)
        return logits + (2 * uniform - 1) * self.noise

    def log_prob(self, sentence: int, prefix: tuple[int, ...]) -> list[float]:
        last = prefix[-1] if prefix else PAD
        probabilities: list[float] = self.logits[sentence, len(prefix), last].log_softmax(0).tolist()
        return probabilities


Found = tuple[tuple[int, ...], float, float, bool]  # tokens, score, log-probability, finished


def found(tokens: tuple[int, ...], log_prob: float, penalty: Callable[[int], float]) -> Found:
    ended = tokens[-1] == EOS
    return tokens[:-1] if ended else tokens, log_prob / penalty(len(tokens)), log_prob, ended


def slow_beam(
    model: Markov,
    sentence: int,
    *,
    beam_size: int,
    max_length: int,
    penalty: Callable[[int], float],
    min_length: int = 0,
    forbidden: tuple[int, ...] = (),
    enough: float = math.inf,
) -> list[Found]:
    """All that beam search finishes when it stops only after `enough` of them, best first."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    finished = []
    for length in range(1, max_length + 1):
        candidates = [
            (so_far + log_prob, (*prefix, token))
            for so_far, prefix in live
            for token, log_prob in enumerate(model.log_prob(sentence, prefix))
            if log_prob > -math.inf and token not in forbidden and (token != EOS or length > min_length)
        ]
        candidates.sort(reverse=True)
        finished += [c for c in candidates[:beam_size] if c[1][-1] == EOS or length == max_length]
        live = [c for c in candidates if c[1][-1] != EOS][:beam_size]
        if beam_size == 1 and finished or len(finished) >= enough:
            break
    return sorted((found(tokens, log_prob, penalty) for log_prob, tokens in finished), key=lambda f: -f[1])


def exhaustive(
    model: Markov, sentence: int, *, max_length: int, penalty: Callable[[int], float], vocab: int
) -> list[Found]:
    """Every output there is, best first."""
    outputs = []
    for length in range(1, max_length + 1):
        for prefix in itertools.product(range(1, vocab), repeat=length - 1):
            for last in range(vocab):
                if last == EOS or length == max_length:
                    tokens = (*prefix, last)
                    steps = [model.log_prob(sentence, tokens[:at])[tokens[at]] for at in range(length)]
                    outputs.append(found(tokens, sum(steps), penalty))
    return sorted(outputs, key=lambda f: -f[1])


@dataclass
class Choice:
    inside: list[int]
    beyond: list[int]


@dataclass
class Prefix:
    """What begins with these tokens, and goes on with this word, however it is cut; `surfaces` is what tokens spell."""

    tokens: tuple[int, ...]
    word: bytes
    surfaces: Sequence[bytes]

    @property
    def choices(self) -> list[Choice]:
        rests = [self.word[place:] for place in range(len(self.word))]
        return [
            Choice(
                [token for token, s in enumerate(self.surfaces) if s and rest.startswith(s)],
                [token for token, s in enumerate(self.surfaces) if s.startswith(rest) and s != rest],
            )
            for rest in rests
        ]

    def begins(self, tokens: tuple[int, ...]) -> bool:
        count = len(self.tokens)
        return tokens[:count] == self.tokens and self.spelt(tokens[count:]).startswith(self.word)

    def spelt(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self.surfaces[token] for token in tokens)


@pytest.fixture(scope="session")
def toys() -> SimpleNamespace:
    """Importable from nowhere (tests are no package), so handed over as a fixture."""
    return SimpleNamespace(Markov=Markov, Prefix=Prefix, slow_beam=slow_beam, exhaustive=exhaustive, EOS=EOS, PAD=PAD)
