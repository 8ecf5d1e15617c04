"""Putting and lying (two-way prepositions), the passive, timetables."""

from dataclasses import replace

from seq2seq.data.sample_corpus import german
from seq2seq.data.sample_corpus.being import owned_or_the
from seq2seq.data.sample_corpus.clause import (
    Clause,
    Tense,
    be_form,
    english_question,
    english_statement,
    german_question,
    german_statement,
)
from seq2seq.data.sample_corpus.grammar import BESIDE, Grammar
from seq2seq.data.sample_corpus.noun_phrase import OWNER, NounPhrase, noun_phrase, referring_to
from seq2seq.data.sample_corpus.nouns import Noun, tagged
from seq2seq.data.sample_corpus.phrases import CLOCK_TIMES, DATES, DAY_TIMES, FUTURE_TIMES, PAST_TIMES, Phrase
from seq2seq.data.sample_corpus.sentence import Sentence, sentence
from seq2seq.data.sample_corpus.verbs import VERBS, verb

_UNDER = ("table", "desk", "chair", "bed", "sofa", "bench")
_BIG = ("box", "suitcase", "bag", "basket", "bucket")


def _where(grammar: Grammar, noun: Noun) -> tuple[NounPhrase, str, str]:
    """A place for a thing, with the English and the German preposition, both for rest and motion."""
    kind = grammar.one(("surface", "surface", "beside", "container"))
    if kind == "surface" or (kind == "container" and noun.english in _BIG):
        return noun_phrase(grammar.one(tagged("surface"))), "on", "auf"
    if kind == "container":
        containers = (
            ("cupboard", "fridge", "box")
            if noun.kind == "vessel"
            else ("drawer", "cupboard", "bag", "suitcase", "basket", "box")
        )
        return noun_phrase(grammar.one(tagged(*containers))), "in", "in"
    english, word = grammar.one((*BESIDE, ("under", "unter")))
    return (
        noun_phrase(grammar.one(tagged(*_UNDER) if english == "under" else tagged(*_UNDER, "cupboard", "door"))),
        english,
        word,
    )


def placing(grammar: Grammar) -> Sentence:
    """The woman put the book on the table: legen or stellen, preposition with the accusative."""
    action = grammar.one(VERBS["placing"])
    noun = grammar.one(tagged(*action.objects))
    place, english, word = _where(grammar, noun)
    subject = grammar.subject(action)
    thing = grammar.some_noun((noun,), owner=OWNER.get(subject.back, ""), plural=0.2)
    if place.noun is noun or thing.english.startswith(("every", "all the", "many")):
        return placing(grammar)
    goal = Phrase(f"{english} {place.english}", german.contract(word, place.case("accusative")))
    tense = grammar.one((Tense.PAST, Tense.PERFECT, Tense.FUTURE, Tense.PROGRESSIVE))
    clause = Clause(subject=subject, verb=action, accusative=thing, goal=goal, tense=tense)
    if tense is Tense.PAST and grammar.chance(0.4):
        clause = replace(clause, time=grammar.one(PAST_TIMES))
    elif grammar.chance(0.15) and not thing.english.startswith("some"):
        clause = replace(clause, negated=True)
    front = grammar.front(clause)
    return sentence(english_statement(clause, front), german_statement(clause, front), ".", clause)


def _answer(clause: Clause) -> Sentence:
    """Where is the book? It is lying on the table."""
    subject = clause.subject
    reply = replace(clause, subject=referring_to(subject))
    asked = f"where {be_form(subject, past=False)} {subject.english}?"
    question = f"wo {'sind' if subject.plural else 'ist'} {subject.case('nominative')}?"
    english, words = english_statement(reply), german_statement(reply)
    return sentence(
        f"{asked} {english[0].upper()}{english[1:]}", f"{question} {words[0].upper()}{words[1:]}", ".", clause
    )


def position(grammar: Grammar) -> Sentence:
    """The book is lying on the table: preposition with the dative."""
    noun = grammar.one(tagged("portable", "paper", "vessel"))
    place, english, word = _where(grammar, noun)
    if place.noun is noun:
        return position(grammar)
    plural = grammar.chance(0.2)
    subject = noun_phrase(
        noun, owned_or_the(grammar, noun, "these" if plural else "this"), grammar.adjectives(noun, 0.4), plural=plural
    )
    where = Phrase(f"{english} {place.english}", german.contract(word, place.case("dative")))
    lies = verb("stand" if noun.kind == "vessel" else "lie", "posture")
    clause = Clause(subject=subject, verb=lies, goal=where, tense=Tense.PROGRESSIVE)
    draw = grammar.one(("statement", "there", "there", "question", "answer"))
    if draw == "there":
        thing = grammar.some_noun((noun,), plural=0.4)
        if thing.definite:
            thing = noun_phrase(noun, "a", grammar.adjectives(noun, 0.5))
        there = replace(clause, subject=thing, goal=None, place=where)
        return sentence(
            f"{where.english} there {be_form(thing, past=False)} {thing.english}",
            german_statement(there, where),
            ".",
            there,
        )
    if draw == "question":
        return sentence(english_question(clause), german_question(clause), "?", clause)
    if draw == "answer":
        return _answer(clause)
    clause = replace(clause, tense=grammar.one((Tense.PROGRESSIVE, Tense.PAST)), negated=grammar.chance(0.2))
    return sentence(english_statement(clause), german_statement(clause), ".", clause)


_PASSIVE_LEMMAS = (
    """repair build paint write read translate sell wash bake open close steal find visit describe order clean"""
)
_PASSIVE_VERBS = tuple(verb(lemma) for lemma in _PASSIVE_LEMMAS.split())


def passive(grammar: Grammar) -> Sentence:
    """The car was repaired by the mechanic: wurde vom Mechaniker repariert."""
    action = grammar.one(_PASSIVE_VERBS)
    subject = grammar.some_noun(
        [noun for noun in tagged(*action.objects) if "person" not in noun.tags and not noun.mass], plural=0.25
    )
    bare_plural = subject.plural and subject.negative is not None
    if bare_plural or subject.english.startswith(("every", "many", "some")) or subject.noun is None:
        return passive(grammar)
    tense = (
        Tense.PAST
        if action.lemma in ("find", "steal")
        else grammar.one((Tense.PAST, Tense.PAST, Tense.PROGRESSIVE, Tense.FUTURE))
    )
    pairs = [*subject.combinations, f"{action.lemma}+{subject.noun.english}"]
    clause = Clause(subject=replace(subject, noun=None), verb=action, tense=tense, passive=True)
    if action.lemma not in ("build", "steal") and grammar.chance(0.55):
        agent = grammar.definite(tagged(*action.subjects), adjective=0.15)
        clause = replace(
            clause, goal=Phrase(f"by {agent.english_object}", german.contract("von", agent.case("dative")))
        )
        pairs += [*agent.combinations, *([f"{agent.noun.english}+{action.lemma}"] if agent.noun else [])]
    times = {Tense.PAST: PAST_TIMES + DAY_TIMES, Tense.FUTURE: FUTURE_TIMES + DAY_TIMES}.get(tense)
    if times and grammar.chance(0.45):
        clause = replace(clause, time=grammar.one(times))
    if clause.goal is None and subject.definite and grammar.chance(0.2):
        clause = replace(clause, negated=True)
    front = grammar.front(clause)
    return sentence(english_statement(clause, front), german_statement(clause, front), ".", *pairs)


def timetable(grammar: Grammar) -> Sentence:
    """The train leaves at half past seven: um halb acht."""
    action = grammar.one(VERBS["event"])
    subject = noun_phrase(grammar.one(tagged(*action.subjects)))
    tense = grammar.one((Tense.PRESENT, Tense.PRESENT, Tense.PAST, Tense.FUTURE))
    clock = grammar.one(CLOCK_TIMES)
    clause = Clause(subject=subject, verb=action, tense=tense, time=clock)
    if grammar.chance(0.1):
        clause = replace(clause, time=None)
        return sentence(english_question(clause, "when"), german_question(clause, "wann"), "?", clause)
    if grammar.chance(0.4):
        date = grammar.one((*DATES, *DAY_TIMES))
        clause = replace(clause, time=Phrase(f"{clock.english} {date.english}", f"{date.german} {clock.german}"))
        return sentence(english_statement(clause), german_statement(clause), ".", clause)
    front = grammar.front(clause, 0.3)
    return sentence(english_statement(clause, front), german_statement(clause, front), ".", clause)
