"""Noun phrases in both languages at once: determiner, adjectives and noun, and the pronouns and names beside them."""

from dataclasses import dataclass
from functools import lru_cache

from seq2seq.data.sample_corpus import german
from seq2seq.data.sample_corpus.adjectives import Adjective
from seq2seq.data.sample_corpus.nouns import Noun

POSSESSIVES = {"my": "mein", "your": "dein", "his": "sein", "her": "ihr", "our": "unser", "their": "ihr"}
DETERMINERS = {
    "the": "der",
    "a": "ein",
    "this": "dies",
    "these": "dies",
    "every": "jed",
    "many": "viel",
    "some": "einig",
    "all the": "all",
    "which": "welch",
    "": "",
    **POSSESSIVES,
}
OWNER = {"I": "my", "you": "your", "he": "his", "she": "her", "we": "our", "they": "their"}
_INDEFINITE = ("a", "", "many", "some")


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """Something that can be a subject or an object.

    Attributes:
        english: the form of a subject.
        english_object: the form of an object.
        german: the four cases, in the order of german.CASES.
        negative: the same with kein; None where kein cannot negate the phrase.
        person: 1, 2 or 3.
        plural: whether its verb is plural.
        gender: m, f, n or plural, for the German pronoun that refers back.
        back: the English pronoun that refers back; empty where the two languages' habits differ (das Mädchen).
        pronoun: whether it is a pronoun itself, which German moves to the front of the middle field.
        definite: German puts a definite object before the negation.
        noun: its noun; None for pronouns and names.
        combinations: the adjective-noun pairs inside it.
    """

    english: str
    english_object: str
    german: tuple[str, ...]
    negative: tuple[str, ...] | None = None
    person: int = 3
    plural: bool = False
    gender: str = "m"
    back: str = ""
    pronoun: bool = False
    definite: bool = True
    noun: Noun | None = None
    combinations: tuple[str, ...] = ()

    def case(self, name: str, *, negated: bool = False) -> str:
        """The German phrase in a case; negated gives the kein form, which must exist."""
        forms = self.german
        if negated:
            assert self.negative is not None
            forms = self.negative
        return forms[german.CASES.index(name)]


def with_article(words: str) -> str:
    """Put a or an before English words."""
    vowel = words[0] in "aeio" or words.startswith(("ugly", "umbrella", "uncle"))
    return f"{'an' if vowel or words.startswith(('honest', 'hour')) else 'a'} {words}"


@lru_cache(maxsize=30_000)
def noun_phrase(
    noun: Noun,
    determiner: str = "the",
    adjectives: tuple[Adjective, ...] = (),
    *,
    plural: bool = False,
    number: tuple[str, str] | None = None,
    superlative: bool = False,
) -> NounPhrase:
    """Build determiner + adjectives + noun.

    Args:
        noun: the head.
        determiner: a key of DETERMINERS; ignored where number is given, except ``the`` and possessives.
        adjectives: in English order, which is kept in German.
        plural: whether to use the plural; implied by number.
        number: a pair of number words above one.
        superlative: whether the (one) adjective stands in the superlative.
    """
    plural = plural or number is not None
    gender = "plural" if plural else noun.gender
    stem = DETERMINERS[determiner]
    english_words = [
        adjective.superlative[0] if superlative and adjective.superlative else adjective.english
        for adjective in adjectives
    ]
    german_words = [
        adjective.superlative[1] if superlative and adjective.superlative else adjective.german
        for adjective in adjectives
    ]

    def forms(stem: str) -> tuple[str, ...]:
        kind = german.declension(stem)
        return tuple(
            " ".join(
                [
                    *([german.article(stem, case, gender)] if stem else []),
                    *([number[1]] if number else []),
                    *(german.attributive(word, kind, case, gender) for word in german_words),
                    german.noun_form(noun, case, plural=plural),
                ]
            )
            for case in german.CASES
        )

    words = " ".join(
        [*([number[0]] if number else []), *english_words, noun.english_plural if plural else noun.english]
    )
    english = with_article(words) if determiner == "a" else f"{determiner} {words}".strip()
    kind = noun.kind
    back = "they" if plural else {"male": "he", "female": "she", "neuter_person": "", "animal": ""}.get(kind, "it")
    return NounPhrase(
        english,
        english,
        forms(stem),
        negative=forms("kein") if determiner in ("a", "") and not number else None,
        plural=plural,
        gender=gender,
        back=back,
        definite=determiner not in _INDEFINITE,
        noun=noun,
        combinations=tuple(f"{adjective.english}+{noun.english}" for adjective in adjectives),
    )


def _pronoun(english: str, english_object: str, cases: str, person: int, plural: bool, gender: str) -> NounPhrase:
    forms = (*cases.split(), "")
    return NounPhrase(
        english, english_object, forms, person=person, plural=plural, gender=gender, back=english, pronoun=True
    )


PRONOUNS: dict[str, NounPhrase] = {
    "I": _pronoun("I", "me", "ich mich mir", 1, False, "m"),
    "you": _pronoun("you", "you", "du dich dir", 2, False, "m"),
    "he": _pronoun("he", "him", "er ihn ihm", 3, False, "m"),
    "she": _pronoun("she", "her", "sie sie ihr", 3, False, "f"),
    "we": _pronoun("we", "us", "wir uns uns", 1, True, "plural"),
    "they": _pronoun("they", "them", "sie sie ihnen", 3, True, "plural"),
}
_IT = {
    "m": _pronoun("it", "it", "er ihn ihm", 3, False, "m"),
    "f": _pronoun("it", "it", "sie sie ihr", 3, False, "f"),
    "n": _pronoun("it", "it", "es es ihm", 3, False, "n"),
}
WEATHER_IT = _IT["n"]


def referring_to(phrase: NounPhrase) -> NounPhrase:
    """The pronoun that takes up a phrase: an English it becomes er, sie or es after the German noun."""
    return _IT[phrase.gender] if phrase.back == "it" else PRONOUNS[phrase.back]


def name(first_name: str, back: str) -> NounPhrase:
    """A person's name."""
    forms = (first_name, first_name, first_name, f"{first_name}s")
    return NounPhrase(first_name, first_name, forms, gender="m" if back == "he" else "f", back=back)


def coordinated(first: NounPhrase, second: NounPhrase) -> NounPhrase:
    """Two names or phrases joined by and."""
    forms = tuple(f"{one} und {other}" for one, other in zip(first.german, second.german, strict=True))
    english = f"{first.english} and {second.english}"
    return NounPhrase(
        english,
        english,
        forms,
        plural=True,
        gender="plural",
        back="they",
        combinations=first.combinations + second.combinations,
    )
