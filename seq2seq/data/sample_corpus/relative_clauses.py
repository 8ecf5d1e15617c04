"""Relative clauses: the German pronoun takes its gender from the noun and its case from its own clause."""

from dataclasses import replace

from seq2seq.data.sample_corpus import german
from seq2seq.data.sample_corpus.adjectives import adjectives_for, opposed
from seq2seq.data.sample_corpus.being import being, predicate_of
from seq2seq.data.sample_corpus.clause import (
    Clause,
    Tense,
    english_relative,
    english_statement,
    german_relative,
    german_statement,
    german_subordinate,
)
from seq2seq.data.sample_corpus.grammar import EVENTS, STATES, Grammar
from seq2seq.data.sample_corpus.noun_phrase import NounPhrase, noun_phrase
from seq2seq.data.sample_corpus.nouns import tagged
from seq2seq.data.sample_corpus.phrases import PAST_TIMES
from seq2seq.data.sample_corpus.sentence import Sentence, sentence
from seq2seq.data.sample_corpus.verbs import VERBS

_RELATIVE = {
    "m": "der den dem dessen",
    "f": "die die der deren",
    "n": "das das dem dessen",
    "plural": "die die denen deren",
}
_PERSON_VERBS = ("know", "see", "meet", "visit", "greet", "help", "invite", "describe")
_THING_VERBS = {
    "garment": ("look for", "like", "find"),
    "portable": ("look for", "need", "find"),
    "text": ("read", "like", "translate"),
    "device": ("repair", "buy", "need"),
}
_ANY_TENSE = (Tense.PAST, Tense.PAST, Tense.PRESENT)


def relative_pronoun(gender: str, case: str) -> str:
    """Der, den, dem, dessen and so on; gender is m, f, n or plural."""
    return _RELATIVE[gender].split()[german.CASES.index(case)]


def _clashes(head: NounPhrase, predicate: str) -> bool:
    """Whether the head is already called something that the predicate repeats or contradicts."""
    return any(opposed(pair.split("+")[0], predicate) for pair in head.combinations)


def _as_subject(head: NounPhrase, english: str, words: str) -> NounPhrase:
    """The head as a subject with its relative clause between commas."""
    return replace(head, english=f"{head.english} {english}", german=tuple(f"{form}, {words}," for form in head.german))


def _as_object(
    grammar: Grammar, head: NounPhrase, english: str, words: str, lemmas: tuple[str, ...], inner: Clause, *pairs: str
) -> Sentence:
    """A main clause with the head as object; the relative clause stands at the very end, after the participle."""
    lemma = grammar.one([lemma for lemma in lemmas if lemma != inner.verb.lemma])
    outer = next(found for frame in ("accusative", "dative") for found in VERBS[frame] if found.lemma == lemma)
    subject = grammar.subject(outer)
    if subject.noun is head.noun or subject.english == inner.subject.english:
        return _as_object(grammar, head, english, words, lemmas, inner, *pairs)
    tense = Tense.PRESENT if lemma in STATES else grammar.one((Tense.PAST, Tense.PAST, Tense.FUTURE))
    main = Clause(subject=subject, verb=outer, tense=tense)
    main = replace(main, dative=head) if outer.frame == "dative" else replace(main, accusative=head)
    return sentence(
        f"{english_statement(main)} {english}", f"{german_statement(main)}, {words}", ".", main, inner, *pairs
    )


def relative_person(grammar: Grammar) -> Sentence:
    """The man who lives in Berlin is friendly; I know the man whom she helps."""
    noun = grammar.one(tagged("person"))
    head = noun_phrase(noun, "the", grammar.adjectives(noun, 0.15), plural=grammar.chance(0.2) and not noun.unique)
    relation = grammar.one(("nominative", "nominative", "accusative", "dative", "genitive"))
    pairs: list[str] = []
    pronoun = relative_pronoun(head.gender, relation)
    if relation == "nominative":
        frames = ("alone", "accusative", "location", "dative", "direction")
        inner = grammar.clause(frames=frames, subject=head, simple=grammar.chance(0.6), tense=grammar.one(_ANY_TENSE))
        english, words = (
            english_relative(inner, "who", without=inner.subject),
            german_relative(inner, pronoun, without=inner.subject),
        )
    elif relation == "genitive":
        owned = grammar.one(tagged("owned", "pet", "garment"))
        predicate, pair = predicate_of(grammar, owned)
        inner = being(NounPhrase(owned.english, owned.english, (owned.german,) * 4), predicate)
        english, words = f"whose {english_statement(inner)}", german_subordinate(inner, pronoun)
        pairs.append(pair)
    else:
        action = grammar.one(
            [found for found in VERBS[relation] if "person" in found.objects and found.lemma != "describe"]
        )
        subject = grammar.subject(action)
        if subject.noun is noun:
            return relative_person(grammar)
        tense = Tense.PRESENT if action.lemma in STATES else grammar.one(_ANY_TENSE)
        inner = Clause(subject=subject, verb=action, tense=tense)
        english, words = english_relative(inner, "whom"), german_relative(inner, pronoun)
        pairs.append(f"{action.lemma}+{noun.english}")
    if grammar.chance(0.5):
        return _as_object(grammar, head, english, words, _PERSON_VERBS, inner, *pairs)
    predicate, pair = predicate_of(grammar, noun)
    if _clashes(head, predicate.english):
        return relative_person(grammar)
    main = being(_as_subject(head, english, words), predicate)
    return sentence(english_statement(main), german_statement(main), ".", main, inner, pair, *pairs)


_THING_ACTIONS = tuple(
    found
    for found in VERBS["accusative"]
    if "person" not in found.objects and found.lemma not in ("bring along", "eat", "drink")
)


def relative_thing(grammar: Grammar) -> Sentence:
    """The book that she bought is interesting; he is looking for the key that you have found."""
    action = grammar.one(_THING_ACTIONS)
    nouns = [
        noun
        for noun in tagged(*action.objects)
        if adjectives_for(noun) and not noun.mass and noun.kind not in ("food", "animal", "male")
    ]
    if not nouns:
        return relative_thing(grammar)
    noun = grammar.one(nouns)
    plural = grammar.chance(0.2)
    determiner = grammar.one(("the", "the", "these" if plural else "this"))
    head = noun_phrase(noun, determiner, grammar.adjectives(noun, 0.15), plural=plural)
    subject = grammar.subject(action)
    tense = (
        Tense.PRESENT if action.lemma in STATES else grammar.one((Tense.PAST, Tense.PAST, Tense.PERFECT, Tense.FUTURE))
    )
    if action.lemma in EVENTS:
        tense = Tense.PAST
    inner = Clause(subject=subject, verb=action, tense=tense)
    if tense is Tense.PAST and grammar.chance(0.4):
        inner = replace(inner, time=grammar.one(PAST_TIMES))
    english, words = (
        english_relative(inner, "that"),
        german_relative(inner, relative_pronoun(head.gender, "accusative")),
    )
    pair = f"{action.lemma}+{noun.english}"
    if noun.kind in _THING_VERBS and grammar.chance(0.5):
        return _as_object(grammar, head, english, words, _THING_VERBS[noun.kind], inner, pair)
    predicate, second = predicate_of(grammar, noun)
    if _clashes(head, predicate.english):
        return relative_thing(grammar)
    main = being(_as_subject(head, english, words), predicate, tense=grammar.one((Tense.PRESENT, Tense.PAST)))
    return sentence(english_statement(main), german_statement(main), ".", main, inner, pair, second)
