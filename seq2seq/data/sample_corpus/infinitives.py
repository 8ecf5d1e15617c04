"""Infinitives with zu and um ... zu, and pronouns that take up an object."""

from dataclasses import replace

from seq2seq.data.sample_corpus.clause import (
    Clause,
    Tense,
    english_infinitive,
    english_statement,
    german_infinitive,
    german_statement,
    german_subordinate,
)
from seq2seq.data.sample_corpus.grammar import STATES, Grammar, places_for
from seq2seq.data.sample_corpus.noun_phrase import OWNER, noun_phrase, referring_to
from seq2seq.data.sample_corpus.nouns import tagged
from seq2seq.data.sample_corpus.phrases import PAST_TIMES
from seq2seq.data.sample_corpus.sentence import Sentence, sentence
from seq2seq.data.sample_corpus.verbs import VERBS, verb

_TRYING = tuple(verb(lemma, "clause") for lemma in ("try", "begin", "forget", "plan"))
_LONG_ACTIONS = tuple(
    verb(lemma)
    for lemma in ("repair", "clean", "read", "write", "cook", "translate", "paint", "build", "look for", "wash")
)
_NOT_TRIED = (*STATES, "lose", "forget", "steal", "see", "hear", "wear", "meet")


def infinitive(grammar: Grammar) -> Sentence:
    """She tried to repair the car: ..., das Auto zu reparieren."""
    trying = grammar.one(_TRYING)
    subject = grammar.subject(verb("repair"))
    frames = ("accusative", "accusative", "dative", "ditransitive")
    inner = grammar.clause(
        frames=frames,
        subject=subject,
        simple=True,
        tense=Tense.PRESENT,
        verbs=_LONG_ACTIONS if trying.lemma == "begin" else (),
    )
    if inner.verb.lemma in _NOT_TRIED:
        return infinitive(grammar)
    main = Clause(subject=subject, verb=trying, tense=grammar.one((Tense.PAST, Tense.PAST, Tense.PERFECT)))
    main = replace(main, time=grammar.one(PAST_TIMES) if main.tense is Tense.PAST and grammar.chance(0.4) else None)
    front = main.time
    return sentence(
        f"{english_statement(main, front)} to {english_infinitive(inner)}",
        f"{german_statement(main, front)}, {german_infinitive(inner)}",
        ".", main, inner,
    )  # fmt: skip


_ERRANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # place: what one does there, and to what
    "supermarket": (("buy",), ("food", "mass_food", "drink")),
    "market": (("buy", "sell"), ("fruit", "cookable", "vase", "basket")),
    "bakery": (("buy",), ("baked",)),
    "library": (("read", "look for"), ("book", "novel", "newspaper", "magazine")),
    "park": (("meet", "watch"), ("person",)),
    "station": (("meet", "pick up"), ("person",)),
    "restaurant": (("eat", "order"), ("course",)),
    "city": (("buy",), ("garment", "wall_piece", "device")),
    "museum": (("see",), ("picture",)),
    "zoo": (("see", "watch"), ("wild",)),
    "garden": (("look for", "watch", "feed"), ("pet",)),
    "hospital": (("visit",), ("person",)),
    "school": (("pick up",), ("son", "daughter", "girl", "boy", "child")),
    "kitchen": (("cook",), ("cookable",)),
}
_GOING = tuple(found for found in VERBS["direction"] if found.lemma in ("go", "come", "run"))


def purpose(grammar: Grammar) -> Sentence:
    """He went to the market to buy bread: um Brot zu kaufen."""
    place_name = grammar.one(tuple(_ERRANDS))
    lemmas, objects = _ERRANDS[place_name]
    action = verb(grammar.one(lemmas))
    subject = grammar.subject(verb("buy"))
    if "person" in objects:
        thing = grammar.person(beside=subject)
    else:
        nouns = [noun for noun in tagged(*objects) if noun is not subject.noun]
        thing = grammar.some_noun(nouns, owner=OWNER.get(subject.back, ""))
    if thing.english.startswith(("every", "all the", "many")):
        return purpose(grammar)
    tense = grammar.one((Tense.PAST, Tense.PAST, Tense.FUTURE, Tense.PERFECT, Tense.PROGRESSIVE))
    main = Clause(
        subject=subject, verb=grammar.one(_GOING), goal=grammar.one(places_for((place_name,))).goal, tense=tense
    )
    if main.tense is Tense.PAST and grammar.chance(0.3):
        main = replace(main, time=grammar.one(PAST_TIMES))
    inner = Clause(subject=subject, verb=action, accusative=thing)
    return sentence(
        f"{english_statement(main, main.time)} to {english_infinitive(inner)}",
        f"{german_statement(main, main.time)}, um {german_infinitive(inner)}",
        ".", main, inner,
    )  # fmt: skip


_ACQUIRED = ("garment", "portable", "vessel", "device", "wall_piece", "furniture", "vehicle", "text")
# verb: conjunction and second verb, with its negation
_MOTIVES: dict[str, tuple[tuple[str, str, str, bool], ...]] = {
    "buy": (
        ("because", "weil", "need", False),
        ("because", "weil", "like", False),
        ("although", "obwohl", "need", True),
    ),
    "look for": (("because", "weil", "need", False), ("although", "obwohl", "need", True)),
    "repair": (("because", "weil", "need", False), ("although", "obwohl", "like", True)),
    "sell": (
        ("because", "weil", "need", True),
        ("because", "weil", "like", True),
        ("although", "obwohl", "like", False),
    ),
    "read": (("although", "obwohl", "like", True), ("although", "obwohl", "understand", True)),
    "order": (("because", "weil", "like", False), ("because", "weil", "need", False)),
    "wash": (("because", "weil", "need", False), ("although", "obwohl", "like", True)),
}


def pronoun_object(grammar: Grammar) -> Sentence:
    """She bought the lamp because she needs it: ihn, sie or es after the German gender."""
    lemma = grammar.one(tuple(_MOTIVES))
    action = verb(lemma)
    english, word, second, negated = grammar.one(_MOTIVES[lemma])
    everything = [found for same in VERBS["accusative"] if same.lemma == lemma for found in tagged(*same.objects)]
    noun = grammar.one([noun for noun in everything if noun.kind in _ACQUIRED])
    subject = grammar.subject(action)
    if not subject.back:
        return pronoun_object(grammar)
    thing = noun_phrase(noun, grammar.one(("the", "the", "this", "a")), grammar.adjectives(noun, 0.3))
    main = Clause(
        subject=subject, verb=action, accusative=thing, tense=grammar.one((Tense.PAST, Tense.FUTURE, Tense.PERFECT))
    )
    back = Clause(subject=referring_to(subject), verb=verb(second), accusative=referring_to(thing), negated=negated)
    return sentence(
        f"{english_statement(main)} {english} {english_statement(back)}",
        f"{german_statement(main)}, {german_subordinate(back, word)}",
        ".", main, back,
    )  # fmt: skip
