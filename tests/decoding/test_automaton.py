"""Automata against counting by hand: where a phrase has been written, how often, and how much of it is missing."""

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.phrases import ENDS_WORD, JOINS, RequiredPhrase, Spelling
from seq2seq.decoding.automaton import DEAD, PhraseTables, automaton

VOCAB = 6
tokens = st.integers(0, VOCAB - 1)
spellings = st.builds(
    Spelling, st.lists(tokens, min_size=1, max_size=3).map(tuple), boundary_before=st.booleans(),
    boundary_after=st.booleans(),
)  # fmt: skip
phrases = st.builds(
    RequiredPhrase, st.lists(spellings, min_size=1, max_size=2, unique=True).map(tuple), count=st.integers(1, 3)
)
classes = st.lists(st.integers(0, 3), min_size=VOCAB, max_size=VOCAB).map(np.array)


def holds(phrase, written, kinds):
    """How often a phrase can be found without overlap, by trying every choice of places."""
    places = []
    for spelling in phrase.spellings:
        for start in range(len(written) - len(spelling.tokens) + 1):
            end = start + len(spelling.tokens)
            before = spelling.boundary_before and start > 0 and kinds[written[start - 1]] & ENDS_WORD
            after = spelling.boundary_after and end < len(written) and kinds[written[end]] & JOINS
            if tuple(written[start:end]) == spelling.tokens and not before and not after:
                places.append((start, end))
    for count in range(min(len(places), phrase.count), 0, -1):
        for chosen in itertools.combinations(sorted(places), count):
            if all(a[1] <= b[0] for a, b in itertools.pairwise(chosen)):
                return count
    return 0


@given(st.lists(phrases, max_size=3), classes, st.lists(tokens, max_size=8))
def test_a_phrase_is_there_exactly_when_it_can_be_found(own, kinds, written):
    tables = PhraseTables([[], own], kinds, torch.device("cpu"))
    states = tables.start.unsqueeze(1)
    assert tables.remaining(states[:1]).sum() == 0
    for token in written:
        states = tables.after(states, torch.full((2, 1), token))
    remaining = tables.remaining(states)
    assert remaining[0].sum() == 0
    assert (remaining[1, 0] == 0).tolist() == [holds(phrase, written, kinds) == phrase.count for phrase in own]


anywhere = st.lists(st.lists(tokens, min_size=1, max_size=3).map(tuple), min_size=1, max_size=2, unique=True)


def events(spellings, written):
    """Which spelling ends where, from left to right, each behind the end of the one before."""
    behind, found = 0, []
    for end in range(1, len(written) + 1):
        here = [
            which for which, spelling in enumerate(spellings)
            if end - len(spelling) >= behind and tuple(written[end - len(spelling) : end]) == spelling
        ]  # fmt: skip
        if here:
            found.append(min(here))
            behind = end
    return found


@given(anywhere, st.none() | anywhere, st.integers(1, 2), st.lists(st.integers(0, 2), max_size=9))
def test_what_must_not_be_there_too_often_or_too_early(own, before, count, written):
    before = [spelling for spelling in before or [] if spelling not in own]
    phrase = RequiredPhrase(
        tuple(Spelling(spelling) for spelling in own), count, True, tuple(Spelling(spelling) for spelling in before)
    )
    tables = PhraseTables([[phrase]], np.zeros(VOCAB, dtype=np.int64), torch.device("cpu"))
    states = tables.start.unsqueeze(1)
    for token in written:
        states = tables.after(states, torch.full((1, 1), token))
    found = opened = 0
    wrong = False
    for which in events([*own, *before], written):
        if which >= len(own):
            opened = min(opened + 1, count)
        else:
            wrong |= bool(before) and opened <= found
            found += 1
    remaining = int(tables.remaining(states))
    assert (remaining >= DEAD) >= (wrong or found > count)
    assert (remaining == 0) == (not wrong and found == count)


@given(phrases, classes)
def test_a_way_of_the_remaining_length_leads_to_the_end(phrase, kinds):
    one = automaton(phrase, kinds)
    start = one.remaining[0]
    # Without minding boundaries, the shortest spelling as often as it is required.
    assert start <= phrase.count * min(len(spelling.tokens) for spelling in phrase.spellings)
    for state, left in enumerate(one.remaining):
        assert (one.remaining[one.moves[state]] >= left - 1).all()


def test_hypotheses_of_all_sentences_move_at_once():
    kinds = np.zeros(VOCAB, dtype=np.int64)
    own = [
        [RequiredPhrase((Spelling((1, 2)),))],
        [],
        [RequiredPhrase((Spelling((2,)),)), RequiredPhrase((Spelling((1, 1)),))],
    ]
    tables = PhraseTables(own, kinds, torch.device("cpu"))
    assert tables.tokens.tolist() == [[1, 2], [VOCAB, VOCAB], [1, 2]]
    states = tables.start.unsqueeze(1).expand(-1, 2, -1)
    states = tables.after(states, torch.tensor([[1, 2], [1, 2], [1, 2]]))
    assert tables.remaining(states).sum(dim=2).tolist() == [[1, 2], [0, 0], [2, 2]]
    tables.keep(torch.tensor([2, 0]))
    states = tables.after(states[[2, 0]], torch.tensor([[1, 2], [2, 5]]))
    assert tables.remaining(states).sum(dim=2).tolist() == [[1, 2], [0, 2]]
