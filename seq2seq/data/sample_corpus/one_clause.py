"""Sentences of one clause: statements, questions, commands."""

from dataclasses import replace

from seq2seq.data.sample_corpus import german
from seq2seq.data.sample_corpus.clause import (
    Clause,
    Tense,
    english_infinitive,
    english_question,
    english_statement,
    english_subject_question,
    german_command,
    german_question,
    german_statement,
    german_subject_question,
)
from seq2seq.data.sample_corpus.grammar import STATES, Grammar
from seq2seq.data.sample_corpus.noun_phrase import PRONOUNS, noun_phrase
from seq2seq.data.sample_corpus.phrases import NEVER
from seq2seq.data.sample_corpus.sentence import Sentence, sentence

_NOT_COMMANDED = (*STATES, "lose", "find", "forget", "see", "hear", "steal", "dream of", "meet", "look forward to")


def statement(grammar: Grammar) -> Sentence:
    """The man bought a book yesterday."""
    clause = grammar.clause()
    front = grammar.front(clause)
    return sentence(english_statement(clause, front), german_statement(clause, front), ".", clause)


def yes_no_question(grammar: Grammar) -> Sentence:
    """Did the man buy the book."""
    clause = replace(grammar.clause(), negated=False, not_yet=False)
    if clause.frequency is NEVER or clause.subject.english == "I":
        return yes_no_question(grammar)
    return sentence(english_question(clause), german_question(clause), "?", clause)


def wh_question(grammar: Grammar) -> Sentence:
    """When, where, why: questions about an adverbial."""
    clause = grammar.clause(simple=True)
    frame, lemma = clause.verb.frame, clause.verb.lemma
    if clause.subject.english == "I":
        return wh_question(grammar)
    asked = [("why", "warum"), ("when", "wann")]
    if frame == "alone":
        asked += [("where", "wo")] * 2
    if lemma in STATES:
        asked = asked[:1]
    if frame == "direction" and lemma not in ("come", "return"):
        asked = [("where", "wohin"), ("where", "wohin"), ("with whom", "mit wem")]
    elif frame in ("location", "posture"):
        asked = [("where", "wo")]
    if frame in ("direction", "location", "posture"):
        clause = replace(clause, goal=None)
    english, question = grammar.one(asked)
    return sentence(english_question(clause, english), german_question(clause, question), "?", clause)


def object_question(grammar: Grammar) -> Sentence:
    """What, whom, which: questions about an object, in the accusative or dative."""
    clause = grammar.clause(frames=("accusative", "accusative", "dative"), simple=True)
    target = clause.accusative or clause.dative
    assert target is not None
    case = "accusative" if clause.accusative else "dative"
    is_person = target.noun is None or "person" in target.noun.tags
    pairs: tuple[str, ...] = ()
    if target.noun and not target.noun.mass and not target.noun.unique and grammar.chance(0.5):
        adjectives = () if is_person else grammar.adjectives(target.noun, 0.3)
        asked = noun_phrase(target.noun, "which", adjectives, plural=target.plural)
        english, question = asked.english, asked.case(case)
        pairs = (*asked.combinations, f"{clause.verb.lemma}+{target.noun.english}")
    elif is_person:
        english, question = "whom", "wen" if case == "accusative" else "wem"
    else:
        english, question = "what", "was"
    without = replace(clause, accusative=None, dative=None)
    return sentence(english_question(without, english), german_question(without, question), "?", without, *pairs)


def subject_question(grammar: Grammar) -> Sentence:
    """Who repaired the car."""
    frames = ("accusative", "accusative", "dative", "ditransitive", "prepositional", "direction")
    who = replace(PRONOUNS["he"], back="")
    clause = grammar.clause(frames=frames, subject=who, tense=grammar.one((Tense.PAST, Tense.FUTURE)))
    clause = replace(clause, negated=False)
    return sentence(english_subject_question(clause, "who"), german_subject_question(clause, "wer"), "?", clause)


def _commandable(clause: Clause) -> bool:
    if clause.verb.lemma in _NOT_COMMANDED:
        return False
    target = clause.accusative or clause.dative or clause.prepositional
    return target is None or (target.definite and not target.english.startswith("every") and target.english != "you")


def imperative(grammar: Grammar) -> Sentence:
    """Open the window! Do not open the window!"""
    frames = ("accusative", "accusative", "dative", "prepositional", "ditransitive", "direction")
    clause = grammar.clause(frames=frames, subject=PRONOUNS["you"], simple=True, tense=Tense.PRESENT)
    if not _commandable(clause):
        return imperative(grammar)
    clause = replace(clause, negated=grammar.chance(0.25))
    english, words = english_infinitive(clause), german_command(clause, german.imperative(clause.verb))
    if clause.negated:
        english = f"do not {english}"
    elif grammar.chance(0.4):
        english, words = f"please {english}", f"bitte {words}"
    return sentence(english, words, "!", clause)
