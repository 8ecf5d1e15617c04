"""Whether token sequences hold a required phrase, and how far they are: one small automaton for each phrase.

A phrase may be spelled with several token sequences (with and without a space before it, say), may be required several
times, and may have to stand at word boundaries. What a hypothesis has of it is one number, the state of a
deterministic automaton (Knuth, Morris & Pratt 1977; Aho & Corasick 1975 for several spellings), so that a search moves
all hypotheses on with one look into a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.data.phrases import ENDS_WORD, JOINS, RequiredPhrase

DEAD = 1 << 40
"""Tokens yet to write where it cannot be done any more."""
NUM_CLASSES = 4
"""Of tokens, by JOINS and ENDS_WORD."""


@dataclass(frozen=True, slots=True)
class Automaton:
    """The automaton of one phrase: states are numbers from 0, where nothing is written."""

    alphabet: NDArray[np.int64]
    """Tokens that occur in the phrase, ascending."""
    moves: NDArray[np.int64]
    """The state after a symbol, (states, NUM_CLASSES + len(alphabet)): first tokens outside the alphabet by class."""
    remaining: NDArray[np.int64]
    """The fewest tokens of the phrase yet to write in each state; 0 where an output that ends here holds the phrase."""
    begun_anew: NDArray[np.int64]
    """As `remaining`, if what is begun were dropped."""


def automaton(phrase: RequiredPhrase, classes: NDArray[np.int64]) -> Automaton:
    """The automaton of a phrase.

    Args:
        phrase: what is required.
        classes: of every token of the vocabulary, bits JOINS and ENDS_WORD, (vocab,).
    """
    tokens = sorted({token for spelling in phrase.watched for token in spelling.tokens})
    return _automaton(phrase, tuple(tokens), tuple(int(classes[token]) for token in tokens))


@dataclass(frozen=True, slots=True)
class _State:
    """What of a phrase has been written."""

    found: int
    """How often all of it; -1 where something was written that must not be."""
    opened: int
    """How often what must come before it; at most `count`."""
    partial: frozenset[tuple[int, int]]
    """(spelling, of the phrase or behind these of what comes before; tokens of it that the output ends in): all of
    them where only the word's end is yet to be seen."""
    open: bool
    """Whether a spelling with boundary_before may begin here."""


@lru_cache(maxsize=4096)
def _automaton(phrase: RequiredPhrase, alphabet: tuple[int, ...], alphabet_classes: tuple[int, ...]) -> Automaton:
    symbols = [(-1, kind) for kind in range(NUM_CLASSES)] + list(zip(alphabet, alphabet_classes, strict=True))
    minds_start = any(spelling.boundary_before for spelling in phrase.spellings)
    numbers = {_State(0, 0, frozenset(), True): 0}
    waiting = list(numbers)
    moves: list[list[int]] = []
    for state in waiting:  # which grows meanwhile
        row = []
        for token, kind in symbols:
            following = _after(phrase, state, token, kind, minds_start=minds_start)
            if following not in numbers:
                numbers[following] = len(numbers)
                waiting.append(following)
            row.append(numbers[following])
        moves.append(row)
    table = np.array(moves, dtype=np.int64)
    remaining = _remaining(phrase, waiting, table)
    without = [numbers.get(_State(state.found, state.opened, frozenset(), True), 0) for state in waiting]
    return Automaton(np.array(alphabet, dtype=np.int64), table, remaining, remaining[without])


def _after(phrase: RequiredPhrase, state: _State, token: int, kind: int, *, minds_start: bool) -> _State:
    """The state after one more token."""
    found, opened, partial = state.found, state.opened, state.partial
    spellings = phrase.watched
    if found < 0 or found >= phrase.count and not phrase.exact:
        return state
    ready = {which for which, written in partial if written == len(spellings[which].tokens)}
    if ready and not kind & JOINS:  # the word does end here
        found, opened, partial = _completed(phrase, found, opened, ready)
    elif ready and phrase.exact:  # it is there, but as the beginning of a word
        found = -1
    reached = set()
    for which, spelling in enumerate(spellings):
        starts = {0} if state.open or not spelling.boundary_before else set()
        for written in starts | {written for other, written in partial if other == which}:
            if written < len(spelling.tokens) and spelling.tokens[written] == token:
                reached.add((which, written + 1))
    ready = {
        which
        for which, written in reached
        if written == len(spellings[which].tokens) and not spellings[which].boundary_after
    }
    if ready and found >= 0:
        found, opened, partial = _completed(phrase, found, opened, ready)
        reached = set()
    if found < 0 or found >= phrase.count and not phrase.exact:
        return _State(min(found, phrase.count), 0, frozenset(), True)
    return _State(found, opened, frozenset(reached), not kind & ENDS_WORD or not minds_start)


def _completed(
    phrase: RequiredPhrase, found: int, opened: int, ready: set[int]
) -> tuple[int, int, frozenset[tuple[int, int]]]:
    """found, opened and an empty partial, after any of these spellings."""
    first = min(ready)
    if first >= len(phrase.spellings) + len(phrase.after):
        return -1, opened, frozenset()
    if first >= len(phrase.spellings):
        return found, min(opened + 1, phrase.count), frozenset()
    too_many = phrase.exact and found >= phrase.count or bool(phrase.after) and opened <= found
    return -1 if too_many else found + 1, opened, frozenset()


def _remaining(phrase: RequiredPhrase, states: Sequence[_State], moves: NDArray[np.int64]) -> NDArray[np.int64]:
    """Shortest ways to the end, where only tokens of the phrase have a length."""
    remaining = np.full(len(states), DEAD, dtype=np.int64)
    for number, state in enumerate(states):
        if state.found < 0:
            continue
        ready = {which for which, written in state.partial if written == len(_all_tokens(phrase, which))}
        found = _completed(phrase, state.found, state.opened, ready)[0] if ready else state.found
        if found >= phrase.count:
            remaining[number] = 0
    lengths = np.ones(moves.shape[1], dtype=np.int64)
    lengths[:NUM_CLASSES] = 0
    while True:
        shorter: NDArray[np.int64] = np.minimum(remaining, (remaining[moves] + lengths).min(axis=1))
        if (shorter == remaining).all():
            return shorter
        remaining = shorter


class PhraseTables:
    """The automata of the phrases of several sentences, as tensors.

    Args:
        phrases: of each sentence.
        classes: of every token of the vocabulary, bits JOINS and ENDS_WORD, (vocab,).
        device: where the tensors go.
    """

    def __init__(
        self, phrases: Sequence[Sequence[RequiredPhrase]], classes: NDArray[np.int64], device: torch.device
    ) -> None:
        nothing = Automaton(
            np.zeros(0, dtype=np.int64), np.zeros((1, NUM_CLASSES), dtype=np.int64), *np.zeros((2, 1), int)
        )
        numbers: dict[RequiredPhrase, int] = {}
        automata = [nothing]
        for phrase in (phrase for own in phrases for phrase in own):
            if phrase not in numbers:
                numbers[phrase] = len(automata)
                automata.append(automaton(phrase, classes))
        most = max((len(own) for own in phrases), default=0)
        which = np.zeros((len(phrases), most), dtype=np.int64)
        for sentence, own in enumerate(phrases):
            which[sentence, : len(own)] = [numbers[phrase] for phrase in own]

        vocab = len(classes)
        first = np.cumsum([0, *(len(one.remaining) for one in automata)])
        longest = max(len(one.alphabet) for one in automata)
        # A number beyond the vocabulary pads, so that alphabets stay ascending and nothing is found there.
        alphabets = np.full((len(automata), longest + 1), vocab, dtype=np.int64)
        moves = np.zeros((first[-1], NUM_CLASSES + longest), dtype=np.int64)
        for one, start, alphabet in zip(automata, first[:-1], alphabets, strict=True):
            alphabet[: len(one.alphabet)] = one.alphabet
            moves[start : start + len(one.remaining), : one.moves.shape[1]] = one.moves + start
        forced = [
            sorted({int(token) for number in set(row) for token in automata[number].alphabet}) for row in which.tolist()
        ]
        widest = max((len(tokens) for tokens in forced), default=0)
        padded = np.full((len(forced), widest), vocab, dtype=np.int64)
        for row, tokens in zip(padded, forced, strict=True):
            row[: len(tokens)] = tokens

        def tensor(values: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        self.start = tensor(first[which])
        """The state of each phrase before anything is written, (sentences, phrases)."""
        self.tokens = tensor(padded)
        """Tokens that occur in a sentence's phrases, ascending, padded with the size of the vocabulary."""
        self._alphabets, self._which, self._moves = tensor(alphabets), tensor(which), tensor(moves)
        self._remaining = tensor(np.concatenate([one.remaining for one in automata]))
        self._begun_anew = tensor(np.concatenate([one.begun_anew for one in automata]))
        self._classes = tensor(classes)

    def keep(self, sentences: Tensor) -> None:
        """Forget all sentences but these; int64 (number,)."""
        self.start, self.tokens, self._which = (x[sentences] for x in (self.start, self.tokens, self._which))

    def after(self, states: Tensor, tokens: Tensor) -> Tensor:
        """States after one more token.

        Args:
            states: of hypotheses, (sentences, hypotheses, phrases)
            tokens: what each writes, (sentences, hypotheses)

        Returns:
            (sentences, hypotheses, phrases)
        """
        alphabets = self._alphabets[self._which]  # (sentences, phrases, longest + 1)
        wanted = tokens.unsqueeze(1).expand(-1, alphabets.shape[1], -1).contiguous()
        places = torch.searchsorted(alphabets, wanted)
        known = alphabets.gather(2, places) == wanted
        symbols = torch.where(known, places + NUM_CLASSES, self._classes[wanted])
        return self._moves[states, symbols.transpose(1, 2)]

    def remaining(self, states: Tensor) -> Tensor:
        """The fewest tokens of each phrase yet to write; shape of states."""
        return self._remaining[states]

    def begun_anew(self, states: Tensor) -> Tensor:
        """As `remaining`, if what is begun of each phrase were dropped."""
        return self._begun_anew[states]


def _all_tokens(phrase: RequiredPhrase, which: int) -> tuple[int, ...]:
    return phrase.watched[which].tokens
