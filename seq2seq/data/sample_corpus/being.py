"""Sentences about what things are like: predicates, contrast, comparison, possession, existence."""

from dataclasses import replace

from seq2seq.data.sample_corpus import german
from seq2seq.data.sample_corpus.adjectives import Adjective, adjectives_for, opposed
from seq2seq.data.sample_corpus.clause import (
    BE,
    Clause,
    Tense,
    be_form,
    english_question,
    english_statement,
    german_question,
    german_statement,
)
from seq2seq.data.sample_corpus.grammar import Grammar
from seq2seq.data.sample_corpus.noun_phrase import NounPhrase, name, noun_phrase, referring_to
from seq2seq.data.sample_corpus.nouns import NOUNS, Noun, tagged
from seq2seq.data.sample_corpus.phrases import NAMES, NUMBERS, PLACES, Phrase
from seq2seq.data.sample_corpus.sentence import Sentence, sentence

DESCRIBABLE = tuple(
    noun for noun in NOUNS if not noun.mass and noun.kind != "occasion" and len(adjectives_for(noun)) > 1
)
_COMPARABLE_KINDS = ("male", "female", "animal", "vehicle", "building", "garment", "furniture", "text", "food")
_COMPARABLE = tuple(noun for noun in DESCRIBABLE if noun.kind in _COMPARABLE_KINDS)
_CONTRASTABLE = tuple(
    noun for noun in DESCRIBABLE if noun.kind not in ("animal", "neuter_person") and len(adjectives_for(noun)) > 3
)
_TOO = "big small expensive heavy long short loud dark cold hot slow difficult old"
_GOOD = """kind happy clever friendly funny polite patient honest brave strong rich famous beautiful good cheap
    comfortable modern tasty fresh ripe sweet exciting interesting clean bright fast light easy"""
_BAD = """lazy sad angry strict ill tired poor nervous strange dangerous ugly bad expensive boring dirty broken slow
    loud dark heavy difficult sour empty"""
_POLARITY = {**dict.fromkeys(_GOOD.split(), 1), **dict.fromkeys(_BAD.split(), -1)}
_TENSES = (Tense.PRESENT, Tense.PRESENT, Tense.PAST)


def being(subject: NounPhrase, predicate: Phrase, *, tense: Tense = Tense.PRESENT, negated: bool = False) -> Clause:
    """Subject + to be + predicate."""
    return Clause(subject=subject, verb=BE, goal=predicate, tense=tense, negated=negated)


def predicate_of(grammar: Grammar, noun: Noun) -> tuple[Phrase, str]:
    """An adjective that fits the noun, as predicate, and their combination."""
    adjective = grammar.one(adjectives_for(noun))
    return Phrase(adjective.english, adjective.german), f"{adjective.english}+{noun.english}"


def owned_or_the(grammar: Grammar, noun: Noun, *more: str) -> str:
    """A possessive, "the", or one of the given determiners."""
    possessives: tuple[str, ...] = ("my", "your", "our", "his", "her") if noun.ownable else ()
    return grammar.one(("the", "the", *more, *possessives))


def _degree(grammar: Grammar, adjective: Adjective, *, negated: bool) -> tuple[str, str]:
    degrees = [("", "")]
    if adjective.comparative:
        degrees.append(("very ", "sehr "))
    if adjective.english in _TOO.split() and not negated:
        degrees.append(("too ", "zu "))
    return grammar.one(degrees)


def description(grammar: Grammar) -> Sentence:
    """The tables are not very heavy."""
    noun = grammar.one(DESCRIBABLE)
    plural = grammar.chance(0.3) and not noun.unique
    subject = noun_phrase(noun, owned_or_the(grammar, noun, "these" if plural else "this"), plural=plural)
    adjective = grammar.one(adjectives_for(noun))
    asking = grammar.chance(0.15)
    negated = not asking and grammar.chance(0.2)
    degree = _degree(grammar, adjective, negated=negated)
    predicate = Phrase(degree[0] + adjective.english, degree[1] + adjective.german)
    clause = being(subject, predicate, tense=grammar.one(_TENSES), negated=negated)
    pair = f"{adjective.english}+{noun.english}"
    if asking:
        return sentence(english_question(clause), german_question(clause), "?", clause, pair)
    return sentence(english_statement(clause), german_statement(clause), ".", clause, pair)


def contrast(grammar: Grammar) -> Sentence:
    """The table is old, but it is beautiful: the pronoun follows the German gender."""
    noun = grammar.one(_CONTRASTABLE)
    subject = noun_phrase(noun, owned_or_the(grammar, noun, "this"))
    first, first_pair = predicate_of(grammar, noun)
    second, second_pair = predicate_of(grammar, noun)
    if opposed(first.english, second.english):
        return contrast(grammar)
    tense = grammar.one(_TENSES)
    agreement = _POLARITY.get(first.english, 0) * _POLARITY.get(second.english, 0)
    but = agreement < 0 or (agreement > 0 and grammar.chance(0.5))
    one = being(subject, first, tense=tense)
    other = being(referring_to(subject), second, tense=tense, negated=but and agreement > 0)
    english, words = (", but", ", aber") if but else (" and", " und")
    return sentence(
        f"{english_statement(one)}{english} {english_statement(other)}",
        f"{german_statement(one)}{words} {german_statement(other)}",
        ".", one, first_pair, second_pair,
    )  # fmt: skip


def superlative(grammar: Grammar) -> Sentence:
    """This is the oldest church in Vienna."""
    noun = grammar.one(tagged("building", "street", "park", "garden", "vehicle", "market"))
    fitting = [found for found in adjectives_for(noun) if found.superlative]
    if not fitting:
        return superlative(grammar)
    adjective = grammar.one(fitting)
    where = grammar.one(
        [place for place in PLACES if "far" in place.tags or place.location.english.endswith((" city", " village"))]
    ).location
    top = noun_phrase(noun, "the", (adjective,), superlative=True)
    this = NounPhrase("this", "this", ("das",) * 4)
    clause = being(
        this,
        Phrase(f"{top.english} {where.english}", f"{top.case('nominative')} {where.german}"),
        tense=grammar.one(_TENSES),
    )
    return sentence(english_statement(clause), german_statement(clause), ".", *top.combinations)


def comparison(grammar: Grammar) -> Sentence:
    """Older than, as old as, the oldest."""
    if grammar.chance(0.2):
        return superlative(grammar)
    noun = grammar.one(_COMPARABLE)
    adjective = grammar.one([found for found in adjectives_for(noun) if found.comparative])
    others = [
        found
        for found in tagged(noun.kind)
        if found is not noun and adjective in adjectives_for(found) and not found.mass
    ]
    if not others or adjective.comparative is None:
        return comparison(grammar)
    other_noun = grammar.one(others)
    plural = grammar.chance(0.2) and not noun.unique and not other_noun.unique
    subject = noun_phrase(noun, owned_or_the(grammar, noun, "these" if plural else "this"), plural=plural)
    other = noun_phrase(
        other_noun,
        "the" if plural or not other_noun.ownable else grammar.one(("the", "your", "his", "their")),
        plural=plural,
    )
    pairs = [f"{adjective.english}+{compared.english}" for compared in (noun, other_noun)]
    equal = grammar.chance(0.35)
    english = f"as {adjective.english} as" if equal else f"{adjective.comparative[0]} than"
    words = f"so {adjective.german} wie" if equal else f"{adjective.comparative[1]} als"
    predicate = Phrase(f"{english} {other.english}", f"{words} {other.case('nominative')}")
    clause = being(subject, predicate, negated=equal and grammar.chance(0.4), tense=grammar.one(_TENSES))
    return sentence(english_statement(clause), german_statement(clause), ".", clause, *pairs)


def possession(grammar: Grammar) -> Sentence:
    """The teacher's car is red: das Auto des Lehrers; Annas Auto."""
    owned = grammar.one(tagged("owned", "garment", "pet", "house", "text", "desk", "phone"))
    thing = noun_phrase(owned)
    if grammar.chance(0.35):
        owner = name(*grammar.one(NAMES))
        words = f"{owner.case('genitive')} {owned.german}"
    else:
        owner = grammar.definite(tagged("person"), adjective=0.2)
        words = f"{thing.case('nominative')} {owner.case('genitive')}"
    subject = replace(thing, english=f"{owner.english}'s {owned.english}", german=(words,) * 4)
    predicate, pair = predicate_of(grammar, owned)
    clause = being(subject, predicate, tense=grammar.one(_TENSES), negated=grammar.chance(0.15))
    return sentence(english_statement(clause), german_statement(clause), ".", clause, pair, *owner.combinations)


_CITIES = tuple(place for place in PLACES if "far" in place.tags and "country" not in place.tags)


def existence(grammar: Grammar) -> Sentence:
    """In the village there is an old church: es gibt with the accusative."""
    natural = grammar.chance(0.25)
    if natural or grammar.chance(0.3):
        where = grammar.one([place for place in PLACES if "country" in place.tags] if natural else _CITIES).location
    else:
        town = noun_phrase(grammar.one(tagged("city", "village", "island")), grammar.one(("the", "this", "every")))
        english, word = ("on", "auf") if town.english.endswith("island") else ("in", "in")
        where = Phrase(f"{english} {town.english}", german.contract(word, town.case("dative")))
    noun = grammar.one(
        tagged("lake", "beach", "river", "castle", "island") if natural else tagged("building", "park", "market", "zoo")
    )
    adjectives = grammar.adjectives(noun, 0.8)
    shape = grammar.one(("a", "number", "many") if " every " in where.english else ("a", "no", "number", "many"))
    if shape in ("a", "no"):
        thing = noun_phrase(noun, "a", adjectives)
    elif shape == "number":
        thing = noun_phrase(noun, "", adjectives, number=grammar.one(NUMBERS))
    else:
        thing = noun_phrase(noun, "many", adjectives, plural=True)
    past = grammar.chance(0.15)
    no = shape == "no"
    english_thing = "no " + thing.english.split(" ", 1)[1] if no else thing.english
    return sentence(
        f"{where.english} there {be_form(thing, past=past)} {english_thing}",
        f"{where.german} {'gab' if past else 'gibt'} es {thing.case('accusative', negated=no)}",
        ".", thing,
    )  # fmt: skip
