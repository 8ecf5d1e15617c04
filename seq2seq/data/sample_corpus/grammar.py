"""Noun phrases and clauses that make sense: verbs meet fitting subjects and objects, nouns fitting adjectives."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import TypeVar

from seq2seq.data.sample_corpus.adjectives import Adjective, adjectives_for, opposed
from seq2seq.data.sample_corpus.clause import CAN, MAY, MODALS, MUST, WANT, WOULD_LIKE, Clause, Tense
from seq2seq.data.sample_corpus.noun_phrase import OWNER, POSSESSIVES, PRONOUNS, NounPhrase, name, noun_phrase
from seq2seq.data.sample_corpus.nouns import Noun, tagged
from seq2seq.data.sample_corpus.phrases import (
    ALREADY,
    CAUSES,
    DATES,
    DAY_TIMES,
    DURINGS,
    FREQUENCIES,
    FUTURE_TIMES,
    HABIT_TIMES,
    JUST,
    MANNERS,
    NAMES,
    NEVER,
    NUMBERS,
    PAST_TIMES,
    PLACES,
    PRESENT_TIMES,
    WITH_TRANSPORT,
    Phrase,
    Place,
)
from seq2seq.data.sample_corpus.verbs import VERBS, Verb

Item = TypeVar("Item")
_COLOURS_AND_AGES = ("red", "blue", "green", "yellow", "white", "black", "brown", "old", "new", "modern")
_FIRST_OF_TWO = ("big", "small", "beautiful", "ugly", "expensive", "cheap", "kind", "friendly", "funny")
_FRAME_WEIGHTS = (
    *("accusative",) * 9,
    *("alone",) * 4,
    *("ditransitive", "prepositional", "direction") * 3,
    *("dative", "posture") * 2,
    "location",
)
_POSTURE_PLACES = {"on": "seat", "beside": "landmark"}
BESIDE = (("behind", "hinter"), ("in front of", "vor"), ("next to", "neben"))
# events that happen in a moment: no "is forgetting", no "every day"
EVENTS = ("forget", "lose", "find", "steal", "arrive", "wake up", "fall asleep", "build")
_ACCIDENTS = ("forget", "lose", "find", "steal")
STATES = ("know", "trust", "need", "like", "love", "have", "understand", "remember")


@cache
def _attributes_for(noun: Noun) -> tuple[Adjective, ...]:
    # what one buys or wears is not "broken"; the word is left to predicates
    return tuple(found for found in adjectives_for(noun) if found.english != "broken")


@cache
def places_for(tags: tuple[str, ...]) -> tuple[Place, ...]:
    """The places with one of the tags, or of one of the names."""
    return tuple(
        place
        for place in PLACES
        if any(tag in place.tags or place.location.english.endswith(f" {tag}") for tag in tags)
    )


class Grammar:
    """Random choices of one seed; every method draws from the same stream."""

    def __init__(self, seed: int) -> None:
        """Start the stream."""
        self._random = Random(seed)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def one(self, items: Sequence[Item]) -> Item:
        """One of the items. Built on random(), whose sequence Python promises never to change."""
        return items[int(self._random.random() * len(items))]

    # --- noun phrases ----------------------------------------------------------------------------------------

    def adjectives(self, noun: Noun, probability: float) -> tuple[Adjective, ...]:
        """No, one or two adjectives; a second one is a colour or an age."""
        fitting = _attributes_for(noun)
        if not fitting or not self.chance(probability):
            return ()
        first = self.one(fitting)
        seconds = [found for found in fitting if found.english in _COLOURS_AND_AGES]
        if first.english in _FIRST_OF_TWO and seconds and self.chance(0.3):
            second = self.one(seconds)
            return (first,) if opposed(first.english, second.english) else (first, second)
        return (first,)

    def some_noun(
        self, nouns: Sequence[Noun], *, adjective: float = 0.35, owner: str = "", plural: float = 0.3
    ) -> NounPhrase:
        """A noun phrase with any determiner; owner is the possessive that refers to the subject, if there is one."""
        noun = self.one(nouns)
        adjectives = self.adjectives(noun, adjective)
        possessive = owner if owner and self.chance(0.85) else self.one(tuple(POSSESSIVES))
        if not noun.ownable:
            possessive = "the"
        if "kin" in noun.tags:
            determiner = possessive if self.chance(0.8) else "the"
            return noun_phrase(
                noun, determiner, adjectives if self.chance(0.3) else (), plural=self.chance(0.1) and not noun.unique
            )
        draw = self._random.random()
        if noun.mass:
            return noun_phrase(noun, "" if draw < 0.6 else "the" if draw < 0.85 else possessive, adjectives)
        if self.chance(plural):
            if draw < 0.15:
                return noun_phrase(noun, "", adjectives, number=self.one(NUMBERS))
            determiner = (
                "the"
                if draw < 0.5
                else ""
                if draw < 0.62
                else possessive
                if draw < 0.76
                else "these"
                if draw < 0.82
                else ""
            )
            determiner = determiner or self.one(("", "", "many", "some", "all the"))
            return noun_phrase(noun, determiner, adjectives, plural=True)
        determiner = (
            "the"
            if draw < 0.45
            else "a"
            if draw < 0.72
            else possessive
            if draw < 0.9
            else "this"
            if draw < 0.97
            else "every"
        )
        return noun_phrase(noun, determiner, adjectives)

    def definite(self, nouns: Sequence[Noun], *, adjective: float = 0.3, owner: str = "") -> NounPhrase:
        """A definite or possessive singular."""
        noun = self.one(nouns)
        possessive = owner or self.one(tuple(POSSESSIVES))
        determiner = possessive if noun.ownable and self.chance(0.7) else "the"
        return noun_phrase(noun, determiner, self.adjectives(noun, adjective))

    def subject(self, verb: Verb) -> NounPhrase:
        """A subject that can do what the verb says."""
        if {"person", "adult"} & set(verb.subjects):
            draw = self._random.random()
            if draw < 0.27:
                return PRONOUNS[self.one(tuple(PRONOUNS))]
            if draw < 0.37:
                return name(*self.one(NAMES))
        nouns = tagged(*verb.subjects)
        noun = self.one(nouns)
        # Fewer indefinite subjects than objects, as in real text.
        if self.chance(0.75):
            adjectives = self.adjectives(noun, 0.25)
            determiner = self.one(tuple(POSSESSIVES)) if noun.ownable and self.chance(0.65) else "the"
            return noun_phrase(
                noun,
                determiner,
                adjectives,
                plural=self.chance(0.15 if "kin" in noun.tags else 0.3) and not noun.unique,
            )
        if "kin" in noun.tags:
            return noun_phrase(noun, self.one(tuple(POSSESSIVES)))
        found = self.some_noun((noun,), adjective=0.3)
        return (
            noun_phrase(noun, "the", plural=True)
            if found.plural and found.english.startswith(noun.english_plural)
            else found
        )

    def person(self, *, beside: NounPhrase, pronoun: float = 0.3) -> NounPhrase:
        """A definite person other than the subject, as object of a verb."""
        if self.chance(pronoun):
            taken = {"I": ("I", "we"), "we": ("I", "we"), "you": ("you",)}.get(beside.english, ())
            third = beside.person == 3 and beside.back
            choices = [word for word in PRONOUNS if word not in taken and not (third and word in ("he", "she", "they"))]
            return PRONOUNS[self.one(choices)]
        if self.chance(0.15):
            return name(*self.one([pair for pair in NAMES if pair[0] != beside.english]))
        nouns = [noun for noun in tagged("person") if noun is not beside.noun]
        return self.definite(nouns, adjective=0.25, owner=OWNER.get(beside.back, ""))

    # --- clauses ---------------------------------------------------------------------------------------------

    def clause(
        self,
        *,
        frames: Sequence[str] = _FRAME_WEIGHTS,
        subject: NounPhrase | None = None,
        simple: bool = False,
        tense: Tense | None = None,
        verbs: Sequence[Verb] = (),
    ) -> Clause:
        """A whole clause.

        Args:
            frames: the verb frames to choose from.
            subject: a given person as subject; by default one that fits the verb.
            simple: no adverbials but those that the verb demands, no negation, no modal.
            tense: a given tense.
            verbs: given verbs to choose from, instead of the frames.
        """
        verb = self.one(verbs) if verbs else self.one(VERBS[self.one(frames)])
        if subject is not None and not verbs:
            while not {"person", "adult"} & set(verb.subjects):
                verb = self.one(VERBS[self.one(frames)])
        clause = self.complements(Clause(subject=subject or self.subject(verb), verb=verb))
        clause = self._timed(clause, tense, simple=simple)
        return clause if simple else self._embellished(clause)

    def complements(self, clause: Clause) -> Clause:
        """Add the objects and the places that the verb demands."""
        verb, subject = clause.verb, clause.subject
        owner = OWNER.get(subject.back, "")
        nouns = (
            [noun for noun in tagged(*verb.objects) if noun is not subject.noun] if verb.frame in _WITH_OBJECTS else []
        )
        if verb.frame == "accusative":
            if "person" in verb.objects and self.chance(0.7):
                return replace(clause, accusative=self.person(beside=subject))
            garment = verb.lemma in ("put on", "wear")
            return replace(clause, accusative=self.some_noun(nouns, owner=owner, plural=0.1 if garment else 0.25))
        if verb.frame == "dative":
            return replace(clause, dative=self.person(beside=subject))
        if verb.frame == "ditransitive":
            recipient = self.person(beside=subject)
            given = self.some_noun(nouns, owner=owner, plural=0.15)
            # English allows "explains him the rule" of none of these two
            first = verb.lemma not in ("explain", "recommend") and self.chance(0.5)
            return replace(clause, dative=recipient, accusative=given, recipient_first=first)
        if verb.frame == "prepositional":
            persons = "person" in verb.objects and self.chance(0.5)
            return replace(
                clause,
                prepositional=self.person(beside=subject) if persons else self.definite(nouns, owner=owner),
            )
        if verb.frame == "direction":
            return replace(clause, goal=self.one(places_for(verb.objects)).goal)
        if verb.frame == "location":
            return replace(clause, goal=self.one(places_for(verb.objects)).location)
        if verb.frame == "posture":
            return replace(clause, goal=self.posture_place(verb.objects[0]))
        return clause

    def posture_place(self, relation: str) -> Phrase:
        """Where one sits, lies or stands: auf dem Stuhl, neben der Tür."""
        place = noun_phrase(self.one(tagged(_POSTURE_PLACES[relation])))
        english, german_word = ("on", "auf") if relation == "on" else self.one(BESIDE)
        return Phrase(f"{english} {place.english}", f"{german_word} {place.case('dative')}")

    def _timed(self, clause: Clause, tense: Tense | None, *, simple: bool) -> Clause:
        verb = clause.verb
        if tense is None:
            usual = (Tense.PRESENT, Tense.PROGRESSIVE, Tense.PAST, Tense.PAST, Tense.PERFECT, Tense.FUTURE)
            tense = self.one(usual)
        if verb.lemma in EVENTS and tense in (Tense.PRESENT, Tense.PROGRESSIVE):
            tense = Tense.PAST
        if verb.lemma in _ACCIDENTS and tense is Tense.FUTURE:
            tense = Tense.PAST
        if verb.lemma in STATES and tense in (Tense.PERFECT, Tense.FUTURE, Tense.PROGRESSIVE):
            tense = Tense.PRESENT
        if verb.lemma in ("live", "stay") and tense is Tense.PERFECT:
            tense = Tense.PAST
        if tense is Tense.PROGRESSIVE and not verb.progressive:
            tense = Tense.PRESENT
        if tense is Tense.PRESENT and verb.english == verb.past:
            # "they read" would be present and past at once
            tense = Tense.PROGRESSIVE
        clause = replace(clause, tense=tense)
        return clause if simple else replace(clause, time=self._time(clause))

    def _time(self, clause: Clause) -> Phrase | None:
        tense, state = clause.tense, clause.verb.lemma in STATES
        if state or tense is Tense.PERFECT or not self.chance(0.6):
            return None
        if clause.verb.frame == "alone" and tense is Tense.PAST and self.chance(0.15):
            return self.one(DURINGS)
        if tense is Tense.PAST:
            return self.one(DATES) if self.chance(0.12) else self.one(PAST_TIMES + DAY_TIMES)
        if tense is Tense.FUTURE:
            return self.one(DATES) if self.chance(0.12) else self.one(FUTURE_TIMES + DAY_TIMES)
        return self.one(PRESENT_TIMES if tense is Tense.PROGRESSIVE else HABIT_TIMES)

    def _embellished(self, clause: Clause) -> Clause:
        """Add modal, negation, frequency, manner, place and cause, each where it makes sense."""
        verb, tense = clause.verb, clause.tense
        state = verb.lemma in STATES
        event = verb.lemma in EVENTS
        if not state and not event and tense in (Tense.PRESENT, Tense.PAST) and self.chance(0.3):
            clause = self._with_modal(clause)
        quantified = any(
            phrase
            and (
                phrase.english.startswith(("many", "some", "all the", "every"))
                or (not phrase.definite and phrase.plural)
            )
            for phrase in (clause.subject, clause.accusative)
        )
        if not quantified and self.chance(0.18):
            # "does not sing every day" would leave open what is negated
            every_day = clause.time and clause.time.english.startswith("every")
            clause = replace(clause, negated=True, time=None if every_day else clause.time)
        if clause.negated and clause.modal is MUST and not clause.modal_past:
            # "must not" forbids; German "muss nicht" only does not oblige
            clause = replace(clause, modal=MAY)
        if tense is Tense.PERFECT:
            if clause.negated:
                clause = replace(clause, not_yet=self.chance(0.6))
            else:
                clause = replace(clause, frequency=self.one((ALREADY, ALREADY, JUST, NEVER, None, None)))
        elif tense is Tense.PRESENT and not (clause.modal or state or verb.lemma == "live"):
            clause = self._habitual(clause)
        definite = clause.accusative is None or clause.accusative.definite
        manners = [manner for manner in MANNERS if verb.lemma.replace(" ", "~") in manner.tags]
        if (
            manners
            and definite
            and not clause.negated
            and not clause.frequency
            and not clause.gladly
            and self.chance(0.35)
        ):
            clause = replace(clause, manner=self.one(manners))
        elif verb.places and clause.goal is None and self.chance(0.4):
            clause = replace(clause, place=self.one(places_for(verb.places)).location)
        elif verb.lemma in ("drive", "travel") and tense is not Tense.PERFECT and self.chance(0.3):
            clause = self._travelling(clause)
        elif verb.lemma in ("stay", "wait", "sleep") and not clause.frequency and self.chance(0.3):
            clause = replace(clause, cause=self.one(CAUSES))
        elif verb.lemma in ("work", "go", "come", "swim") and not clause.frequency and self.chance(0.3):
            clause = replace(clause, cause=self.one([cause for cause in CAUSES if cause.english.startswith("despite")]))
        return clause

    def _habitual(self, clause: Clause) -> Clause:
        """Often, never; likes to."""
        if not clause.negated and self.chance(0.5):
            every_day = clause.time is not None and clause.time.english.startswith("every")
            time = clause.time if self.chance(0.3) and not every_day else None
            return replace(clause, frequency=self.one((*FREQUENCIES, NEVER)), time=time)
        likable = "person" in clause.verb.subjects and clause.verb.frame in ("alone", "accusative")
        if likable and not clause.negated and self.chance(0.25):
            return replace(clause, gladly=True, time=None)
        return clause

    def _travelling(self, clause: Clause) -> Clause:
        """By train to Berlin: in German the means comes before the goal, in English after it."""
        if clause.verb.lemma != "travel" or clause.goal is None or clause.negated:
            return clause
        means = self.one(WITH_TRANSPORT)
        return replace(clause, manner=means)

    def _with_modal(self, clause: Clause) -> Clause:
        if clause.tense is Tense.PAST:
            modal = self.one((CAN, CAN, MUST, WANT, MAY))
            return replace(clause, modal=modal, modal_past=True)
        modal = self.one((*MODALS, WOULD_LIKE))
        time = self.one(PRESENT_TIMES[:1] + FUTURE_TIMES + DAY_TIMES) if self.chance(0.5) else None
        return replace(clause, modal=modal, time=time)

    def front(self, clause: Clause, probability: float = 0.45) -> Phrase | None:
        """One of the clause's adverbials to put first, or None."""
        if clause.adverbials and self.chance(probability):
            return self.one(clause.adverbials)
        return None


_WITH_OBJECTS = ("accusative", "ditransitive", "prepositional")
