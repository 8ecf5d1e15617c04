"""A corpus of English-German sentence pairs made by a grammar, for when no downloaded corpus is at hand.

Ours: no sentence is copied from anywhere. Nouns, verbs, adjectives and adverbials (`nouns.py`, `verbs.py`,
`adjectives.py`, `phrases.py`) are put together by meaning (`grammar.py`), inflected (`german.py`,
`noun_phrase.py`), ordered (`clause.py`) and joined into sentences (`one_clause.py`, `being.py`, `events.py`,
`relative_clauses.py`, `two_clauses.py`, `infinitives.py`).

What is covered:
    Noun phrases: four cases, three genders, plurals, weak masculine nouns, dative plural -n; definite, indefinite,
    possessive, demonstrative, negative (kein) and numeral determiners with the strong, weak and mixed adjective
    endings; names, genitives and pronouns, where it is er, sie or es after the German noun.
    Verbs: present with vowel change, perfect with haben or sein, simple past of sein, haben and the modals, future,
    modals, separable and reflexive verbs, dative and prepositional objects, passive, imperative, gern.
    Word order: verb second with a fronted adverbial, verb last in subordinate and relative clauses and in zu and
    um-zu infinitives, the order of pronouns, recipient, time, cause, object, negation, manner and place, the place
    of nicht.
    Prepositions: two-way ones with both cases, contractions, directions (nach, zu, in), and those that verbs
    govern.
    Sentences: statements, yes/no and wh questions, commands, comparison, existence, clock times and dates,
    coordination, reasons, conditions, reports, relative clauses.

Conventions, so that each English sentence has one translation: you is du; the English past and the present perfect
are both the German perfect; a profession has one gender (teacher: Lehrer; singer: Sängerin); an indefinite object
follows, a definite one precedes the place, and so on throughout.

What is held out: pairs of words, never words. `held_out` reserves a fixed part of all subject-verb, verb-object and
adjective-noun pairs for test and another for valid, whatever the seed. A test sentence contains at least one pair
reserved for test and none reserved for valid; a valid sentence the reverse; a train sentence neither. A pair is of
dictionary forms, so it is held out in every inflection and in every kind of sentence. Every word form of valid and
test stands in train, at least LEAST_OCCURRENCES times. The template, the subject and the objects of a test sentence
are therefore known; what is measured is whether they can be put together in a new way. Names and pronouns are in no
pair, nor are adverbials and places.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from zlib import crc32

from seq2seq.data.sample_corpus.grammar import Grammar
from seq2seq.data.sample_corpus.sentence import Sentence
from seq2seq.data.sample_corpus.templates import WEIGHTED

SIZES: dict[str, int] = {"train": 60_000, "valid": 1_000, "test": 1_000}
LEAST_OCCURRENCES = 5
"""How often every word form of valid and test stands in train: the splits measure new combinations, not rare words."""
_RESERVE_ONE_IN = 40


def held_out(combination: str) -> str:
    """The split that a combination such as ``old+church`` or ``buy+book`` is reserved for; "train" for most."""
    # crc32 and not hash(): the same on every platform and in every process
    return {0: "test", 1: "valid"}.get(crc32(combination.encode()) % _RESERVE_ONE_IN, "train")


def split_of(sentence: Sentence) -> str | None:
    """Where a sentence belongs; None when it has pairs reserved for valid and for test."""
    reserved = {held_out(combination) for combination in sentence.combinations} - {"train"}
    if len(reserved) > 1:
        return None
    return reserved.pop() if reserved else "train"


def word_forms(text: str) -> list[str]:
    """The words of a sentence, without punctuation."""
    return re.findall(r"[\w'-]+", text)


def _known(pairs: dict[str, str], train: dict[str, str]) -> dict[str, str]:
    """The pairs of which every word form is frequent enough in train."""
    english = Counter(word for text in train for word in word_forms(text))
    german = Counter(word for text in train.values() for word in word_forms(text))
    return {
        source: target
        for source, target in pairs.items()
        if all(english[word] >= LEAST_OCCURRENCES for word in word_forms(source))
        and all(german[word] >= LEAST_OCCURRENCES for word in word_forms(target))
    }


@lru_cache(maxsize=2)
def _splits(seed: int) -> dict[str, tuple[tuple[str, str], ...]]:
    grammar = Grammar(seed)
    found: dict[str, dict[str, str]] = {split: {} for split in SIZES}
    while len(found["train"]) < SIZES["train"]:
        sentence = grammar.one(WEIGHTED)(grammar)
        split = split_of(sentence)
        if split:
            # Two ways to the same English sentence give the same German one; a test asserts it.
            found[split].setdefault(sentence.english, sentence.german)
    for split in ("valid", "test"):
        found[split] = _known(found[split], found["train"])
        assert len(found[split]) >= SIZES[split], f"only {len(found[split])} pairs for {split}"
    return {split: tuple(pairs.items())[: SIZES[split]] for split, pairs in found.items()}


def sample_pairs(split: str, *, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Yield (english, german) pairs of one split, SIZES[split] of them and all distinct.

    Args:
        split: "train", "valid" or "test".
        seed: another seed draws other sentences; which combinations are held out stays the same.

    Raises:
        ValueError: there is no such split.
    """
    if split not in SIZES:
        raise ValueError(f"split={split!r} is not in the sample corpus; it has {', '.join(SIZES)}.")
    return iter(_splits(seed)[split])
