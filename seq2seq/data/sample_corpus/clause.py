"""A clause and its word order in both languages.

German is one scheme: what stands before the finite verb differs between statement, question and subordinate clause; the
middle field and the right-hand bracket (prefix, participle, infinitive) are the same in all of them.
"""

from dataclasses import dataclass
from enum import Enum

from seq2seq.data.sample_corpus import german
from seq2seq.data.sample_corpus.noun_phrase import NounPhrase
from seq2seq.data.sample_corpus.phrases import ALREADY, JUST, NEVER, Phrase
from seq2seq.data.sample_corpus.verbs import Verb


class Tense(Enum):
    """The English tense; German has the present for the first two, the perfect for the next two, then werden."""

    PRESENT = "present"
    PROGRESSIVE = "progressive"
    PAST = "past"
    PERFECT = "perfect"
    FUTURE = "future"


@dataclass(frozen=True, slots=True)
class Modal:
    """A modal: English words (finite singular, finite plural, rest) for present and past, and the German infinitive."""

    present: tuple[str, str, str]
    past: tuple[str, str, str]
    auxiliary: bool
    german: str


CAN = Modal(("can", "can", ""), ("could", "could", ""), True, "können")
MUST = Modal(("must", "must", ""), ("had", "had", "to"), True, "müssen")
WANT = Modal(("wants", "want", "to"), ("wanted", "wanted", "to"), False, "wollen")
SHOULD = Modal(("should", "should", ""), ("", "", ""), True, "sollen")
WOULD_LIKE = Modal(("would", "would", "like to"), ("", "", ""), True, "möchten")
MAY = Modal(("is", "are", "allowed to"), ("was", "were", "allowed to"), True, "dürfen")
MODALS = (CAN, MUST, WANT, SHOULD, WOULD_LIKE, MAY)

# lemma, English forms, German forms, what it governs, frame, then the lists that only lexicon verbs have
BE = Verb(
    *("be", "be", "was", "been", "being", "", ""),
    *("sein", "", "gewesen", "bist", "ist", "sein", False),
    *("copula", ("", ""), (), (), ()),
)


# Not frozen only for speed: __init__ of a frozen class takes twice as long. Nothing changes a clause; see replace().
@dataclass(slots=True, kw_only=True, eq=False)
class Clause:
    """One verb with all that belongs to it.

    Attributes:
        goal: where to, a place that the verb demands, or a predicate: it follows nicht and ends the middle field.
        place: where it happens, not demanded by the verb.
        frequency: often, already ... or NEVER, which negates.
        recipient_first: English "gives the child a book" rather than "gives a book to the child".
        gladly: "likes to read", liest gern.
        not_yet: with a negated perfect, "not ... yet", noch nicht.
    """

    subject: NounPhrase
    verb: Verb
    tense: Tense = Tense.PRESENT
    modal: Modal | None = None
    modal_past: bool = False
    negated: bool = False
    accusative: NounPhrase | None = None
    dative: NounPhrase | None = None
    prepositional: NounPhrase | None = None
    frequency: Phrase | None = None
    time: Phrase | None = None
    cause: Phrase | None = None
    manner: Phrase | None = None
    place: Phrase | None = None
    goal: Phrase | None = None
    recipient_first: bool = False
    gladly: bool = False
    not_yet: bool = False
    passive: bool = False

    @property
    def combinations(self) -> tuple[str, ...]:
        """What the hold-out looks at: subject-verb, verb-object and adjective-noun pairs."""
        arguments = (self.accusative, self.dative, self.prepositional)
        pairs = list(self.subject.combinations)
        if self.subject.noun and self.verb is not BE:
            pairs.append(f"{self.subject.noun.english}+{self.verb.lemma}")
        elif self.subject.noun and self.goal and " " not in self.goal.english:
            pairs.append(f"{self.goal.english}+{self.subject.noun.english}")
        for argument in arguments:
            if argument is not None:
                pairs.extend(argument.combinations)
                if argument.noun:
                    pairs.append(f"{self.verb.lemma}+{argument.noun.english}")
        return tuple(pairs)

    @property
    def adverbials(self) -> tuple[Phrase, ...]:
        """The adverbials that may be fronted."""
        return tuple(phrase for phrase in (self.time, self.place, self.cause) if phrase)


# --- English -------------------------------------------------------------------------------------------------


def be_form(phrase: NounPhrase, *, past: bool) -> str:
    """Am, is, are, was or were."""
    plural = phrase.plural or phrase.person == 2
    if past:
        return "were" if plural else "was"
    return "are" if plural else "am" if phrase.person == 1 else "is"


def third_person(base: str) -> str:
    """The -s form of an English verb."""
    if base in ("have", "do", "go"):
        return {"have": "has", "do": "does", "go": "goes"}[base]
    if base.endswith(("s", "sh", "ch", "x", "z")):
        return base + "es"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


def _third(clause: Clause) -> bool:
    return clause.subject.person == 3 and not clause.subject.plural


def _english_group(clause: Clause) -> tuple[str, list[str], bool]:
    """The finite word, the words after it, and whether the finite word is an auxiliary."""
    verb, third = clause.verb, _third(clause)
    to_base = ["like to", verb.english] if clause.gladly else [verb.english]
    if clause.passive:
        if clause.tense is Tense.PROGRESSIVE:
            return be_form(clause.subject, past=False), ["being", verb.participle], True
        if clause.tense is Tense.FUTURE:
            return "will", ["be", verb.participle], True
        return be_form(clause.subject, past=clause.tense is Tense.PAST), [verb.participle], True
    if clause.modal:
        words = clause.modal.past if clause.modal_past else clause.modal.present
        auxiliary = clause.modal.auxiliary and words[0] != "had"
        finite = words[0] if third else words[1]
        if words[0] in ("is", "was"):
            finite = be_form(clause.subject, past=clause.modal_past)
        return finite, [*filter(None, [words[2]]), verb.english], auxiliary
    if clause.tense is Tense.FUTURE:
        return "will", to_base, True
    if clause.tense is Tense.PROGRESSIVE:
        return be_form(clause.subject, past=False), [verb.ing], True
    if clause.tense is Tense.PERFECT:
        return "has" if third else "have", [verb.participle], True
    if verb is BE:
        return be_form(clause.subject, past=clause.tense is Tense.PAST), [], True
    if clause.gladly:
        liked = "liked" if clause.tense is Tense.PAST else "likes" if third else "like"
        return liked, ["to", verb.english], False
    if clause.tense is Tense.PAST:
        return verb.past, [], False
    return third_person(verb.english) if third else verb.english, [], False


_BASES = {"wants": "want", "wanted": "want", "had": "have", "likes": "like", "liked": "like"}


def _english_verbs(clause: Clause, *, inverted: bool) -> tuple[str, list[str]]:
    """The word before the subject of a question (or the first verb of a statement), and the verbs after it."""
    finite, rest, auxiliary = _english_group(clause)
    if not auxiliary and (inverted or clause.negated):
        past = clause.tense is Tense.PAST or clause.modal_past
        base = _BASES.get(finite, finite) if clause.modal or clause.gladly else clause.verb.english
        finite, rest, auxiliary = "did" if past else "does" if _third(clause) else "do", [base, *rest], True
    middle = ["not"] * clause.negated + ([clause.frequency.english] if clause.frequency else [])
    if finite == "can" and clause.negated and not inverted:
        return "cannot", middle[1:] + rest
    if inverted or auxiliary:
        return finite, middle + rest
    return " ".join([*middle, finite]), rest


def _english_after(clause: Clause, front: Phrase | None, *, without: NounPhrase | None = None) -> list[str]:
    """Everything behind the verbs; ``without`` is the object that stands elsewhere."""
    verb = clause.verb
    words: list[str] = []
    accusative = None if clause.accusative is without else clause.accusative
    dative = None if clause.dative is without else clause.dative
    if verb.particle and accusative and accusative.pronoun:
        words += [accusative.english_object, verb.particle]
        accusative = None
    elif verb.particle:
        words.append(verb.particle)
    if verb.preposition:
        words.append(verb.preposition)
    if verb.frame == "dative":
        words += [dative.english_object] if dative else []
    elif dative and clause.recipient_first:
        words.append(dative.english_object)
        dative = None
    if accusative:
        words.append(accusative.english_object)
    if dative and verb.frame != "dative":
        words.append(f"to {dative.english_object}")
    if clause.prepositional and clause.prepositional is not without:
        words.append(clause.prepositional.english_object)
    for phrase in (clause.goal, clause.manner, clause.place, clause.cause, clause.time):
        if phrase and phrase is not front:
            words.append(phrase.english)
    if clause.not_yet:
        words.append("yet")
    return words


def english_statement(clause: Clause, front: Phrase | None = None) -> str:
    """The clause as a statement, also after a conjunction."""
    finite, rest = _english_verbs(clause, inverted=False)
    words = [*([front.english] if front else []), clause.subject.english, finite, *rest, *_english_after(clause, front)]
    return " ".join(words)


def english_question(clause: Clause, asked: str = "", *, without: NounPhrase | None = None) -> str:
    """A question about the clause; asked is the fronted question phrase, without the object that it stands for."""
    finite, rest = _english_verbs(clause, inverted=True)
    return " ".join(
        [*filter(None, [asked]), finite, clause.subject.english, *rest, *_english_after(clause, None, without=without)]
    )


def english_subject_question(clause: Clause, asked: str) -> str:
    """Who buys the book: the question phrase is the subject."""
    finite, rest = _english_verbs(clause, inverted=False)
    return " ".join([asked, finite, *rest, *_english_after(clause, None)])


def english_relative(clause: Clause, pronoun: str, *, without: NounPhrase | None = None) -> str:
    """A relative clause; without is the object that the pronoun stands for, or the subject."""
    finite, rest = _english_verbs(clause, inverted=False)
    subject = [] if without is clause.subject else [clause.subject.english]
    return " ".join([pronoun, *subject, finite, *rest, *_english_after(clause, None, without=without)])


def english_infinitive(clause: Clause) -> str:
    """The clause without subject and tense: buy a book at the market."""
    return " ".join([clause.verb.english, *_english_after(clause, None)])


# --- German --------------------------------------------------------------------------------------------------


def _german_group(clause: Clause) -> tuple[str, list[str]]:
    """The finite verb and the right-hand bracket of a main clause."""
    verb, person, plural = clause.verb, clause.subject.person, clause.subject.plural
    infinitive = verb.prefix + verb.infinitive
    if clause.passive:
        if clause.tense is Tense.FUTURE:
            return german.present("werden", person, plural=plural), [verb.german_participle, "werden"]
        passive_form = german.past if clause.tense is Tense.PAST else german.present
        return passive_form("werden", person, plural=plural), [verb.german_participle]
    if clause.modal:
        modal_form = german.past if clause.modal_past else german.present
        return modal_form(clause.modal.german, person, plural=plural), [infinitive]
    if clause.tense is Tense.FUTURE:
        return german.present("werden", person, plural=plural), [infinitive]
    if clause.tense in (Tense.PAST, Tense.PERFECT):
        if verb.infinitive in ("sein", "haben", "mögen") and clause.tense is Tense.PAST:
            return german.past(verb.infinitive, person, plural=plural), []
        return german.present(verb.auxiliary, person, plural=plural), [verb.german_participle]
    return german.verb_present(verb, person, plural=plural), [verb.prefix] if verb.prefix else []


def _german_middle(clause: Clause, front: Phrase | None, *, without: NounPhrase | None = None) -> list[str]:
    """The middle field without the subject: pronouns, recipient, time, cause, object, negation, place, goal."""
    accusative = None if clause.accusative is without else clause.accusative
    dative = None if clause.dative is without else clause.dative
    time, cause, place, goal = ("" if phrase is None or phrase is front else phrase.german
                                for phrase in (clause.time, clause.cause, clause.place, clause.goal))  # fmt: skip
    manner = clause.manner.german if clause.manner else ""
    never = clause.frequency is NEVER
    frequency = clause.frequency.german if clause.frequency and not never else ""
    kein = clause.negated and accusative is not None and accusative.negative is not None
    negator = "nie" if never else "nicht" if clause.negated and not kein else ""
    if clause.not_yet:
        frequency, negator = ("noch", "") if kein else ("", "noch nicht")
    pronouns, recipient, definite, indefinite = "", "", "", ""
    if accusative and accusative.pronoun:
        pronouns = accusative.case("accusative")
    elif accusative and accusative.definite:
        definite = accusative.case("accusative")
    elif accusative:
        indefinite = accusative.case("accusative", negated=kein)
    if dative and dative.pronoun:
        pronouns = f"{pronouns} {dative.case('dative')}".strip()
    elif dative:
        recipient = dative.case("dative")
    object_of_preposition = ""
    if clause.prepositional and clause.prepositional is not without:
        preposition, case = clause.verb.governs
        object_of_preposition = german.contract(preposition, clause.prepositional.case(case))
    gladly = "gern" if clause.gladly else ""
    if negator and definite:
        order = [pronouns, recipient, definite, time, cause, frequency, negator, gladly, manner, place]
    elif indefinite:
        order = [pronouns, recipient, time, cause, place, frequency, negator, gladly, manner, indefinite]
    elif clause.frequency in (ALREADY, JUST):
        order = [pronouns, recipient, time, cause, definite, frequency, place]
    else:
        order = [pronouns, recipient, time, cause, frequency, definite, negator, gladly, manner, place]
    return [*filter(None, [*order, object_of_preposition, goal])]


def _with_subject(clause: Clause, middle: list[str]) -> list[str]:
    """Subject and reflexive before the middle field: sich der Mann, but er sich."""
    subject = clause.subject.case("nominative")
    if not clause.verb.reflexive:
        return [subject, *middle]
    reflexive = german.reflexive(clause.subject.person, plural=clause.subject.plural)
    return [subject, reflexive, *middle] if clause.subject.pronoun else [reflexive, subject, *middle]


def _reflexive(clause: Clause) -> list[str]:
    return [german.reflexive(clause.subject.person, plural=clause.subject.plural)] if clause.verb.reflexive else []


def german_statement(clause: Clause, front: Phrase | None = None) -> str:
    """The clause with its verb second, after the subject or the fronted adverbial."""
    finite, bracket = _german_group(clause)
    middle = _german_middle(clause, front)
    if front:
        return " ".join([front.german, finite, *_with_subject(clause, middle), *bracket])
    return " ".join([clause.subject.case("nominative"), finite, *_reflexive(clause), *middle, *bracket])


def german_question(clause: Clause, asked: str = "", *, without: NounPhrase | None = None) -> str:
    """Finite verb first, or second after the question phrase; also the main clause after a subordinate one."""
    finite, bracket = _german_group(clause)
    return " ".join(
        [
            *filter(None, [asked]),
            finite,
            *_with_subject(clause, _german_middle(clause, None, without=without)),
            *bracket,
        ]
    )


def german_subject_question(clause: Clause, asked: str) -> str:
    """Wer kauft das Buch: the question phrase is the subject."""
    finite, bracket = _german_group(clause)
    return " ".join([asked, finite, *_reflexive(clause), *_german_middle(clause, None), *bracket])


def _verb_last(clause: Clause) -> list[str]:
    finite, bracket = _german_group(clause)
    return [bracket[0] + finite] if bracket and bracket == [clause.verb.prefix] else [*bracket, finite]


def german_subordinate(clause: Clause, conjunction: str) -> str:
    """The clause after a conjunction, finite verb last."""
    return " ".join([conjunction, *_with_subject(clause, _german_middle(clause, None)), *_verb_last(clause)])


def german_relative(clause: Clause, pronoun: str, *, without: NounPhrase | None = None) -> str:
    """A relative clause; without is the object that the pronoun stands for, or the subject."""
    middle = _german_middle(clause, None, without=without)
    rest = [*_reflexive(clause), *middle] if without is clause.subject else _with_subject(clause, middle)
    return " ".join([pronoun, *rest, *_verb_last(clause)])


def german_infinitive(clause: Clause) -> str:
    """The clause with zu: ein Buch auf dem Markt zu kaufen."""
    return " ".join([*_reflexive(clause), *_german_middle(clause, None), german.zu_infinitive(clause.verb)])


def german_command(clause: Clause, imperative: str) -> str:
    """The clause as a command to du; the imperative is given without its prefix."""
    prefix = [clause.verb.prefix] if clause.verb.prefix else []
    return " ".join([imperative, *_reflexive(clause), *_german_middle(clause, None), *prefix])
