"""German inflection: articles, adjective endings, nouns and verbs. Knows forms, not meanings."""

from seq2seq.data.sample_corpus.nouns import Noun
from seq2seq.data.sample_corpus.verbs import Verb, needs_e

CASES = ("nominative", "accusative", "dative", "genitive")
_DEFINITE = {"m": "der den dem des", "f": "die die der der", "n": "das das dem des", "plural": "die die den der"}
_DIESER = {"m": "er en em es", "f": "e e er er", "n": "es es em es", "plural": "e e en er"}
_EIN = {"m": "- en em es", "f": "e e er er", "n": "- - em es", "plural": "e e en er"}
_ADJECTIVE = {
    "weak": {"m": "e en en en", "f": "e e en en", "n": "e e en en", "plural": "en en en en"},
    "mixed": {"m": "er en en en", "f": "e e en en", "n": "es es en en", "plural": "en en en en"},
    "strong": {"m": "er en em en", "f": "e e er er", "n": "es es em en", "plural": "e e en er"},
}
_ATTRIBUTIVE_STEMS = {"teuer": "teur", "dunkel": "dunkl", "sauer": "saur", "müde": "müd"}
_DIESER_WORDS = {"dies", "jed", "welch", "all", "viel", "einig"}
# "ans" is left out: it would need "an das" before persons (an das Mädchen denken)
_CONTRACTIONS = {
    "in dem": "im",
    "in das": "ins",
    "an dem": "am",
    "zu dem": "zum",
    "zu der": "zur",
    "von dem": "vom",
    "bei dem": "beim",
}
_IRREGULAR_PRESENT = {
    "sein": "bin bist ist sind sind",
    "haben": "habe hast hat haben haben",
    "werden": "werde wirst wird werden werden",
    "können": "kann kannst kann können können",
    "müssen": "muss musst muss müssen müssen",
    "wollen": "will willst will wollen wollen",
    "sollen": "soll sollst soll sollen sollen",
    "dürfen": "darf darfst darf dürfen dürfen",
    "möchten": "möchte möchtest möchte möchten möchten",
    "mögen": "mag magst mag mögen mögen",
    "wissen": "weiß weißt weiß wissen wissen",
}
_PAST_STEMS = {
    "sein": "war",
    "mögen": "mochte",
    "haben": "hatte",
    "werden": "wurde",
    "können": "konnte",
    "müssen": "musste",
    "wollen": "wollte",
    "sollen": "sollte",
    "dürfen": "durfte",
    "wissen": "wusste",
    "sagen": "sagte",
}


def article(stem: str, case: str, gender: str) -> str:
    """A determiner in a case; gender is m, f, n or plural.

    Args:
        stem: ``der`` for the definite article, the stem of a der-word (``dies``, ``jed``, ``welch``, ``all``), or an
            ein-word (``ein``, ``kein``, ``mein`` ...).
        case: one of CASES.
        gender: m, f, n or plural.
    """
    column = CASES.index(case)
    if stem == "der":
        return _DEFINITE[gender].split()[column]
    table = _DIESER if stem in _DIESER_WORDS else _EIN
    return stem + table[gender].split()[column].strip("-")


def declension(stem: str) -> str:
    """Which adjective endings follow a determiner: weak, mixed, or strong (after none, a number, viele, einige)."""
    if stem in ("der", "dies", "jed", "welch", "all"):
        return "weak"
    return "strong" if stem in ("", "viel", "einig") else "mixed"


def attributive(adjective: str, kind: str, case: str, gender: str) -> str:
    """An adjective before its noun; kind is weak, mixed or strong."""
    return _ATTRIBUTIVE_STEMS.get(adjective, adjective) + _ADJECTIVE[kind][gender].split()[CASES.index(case)]


def noun_form(noun: Noun, case: str, *, plural: bool = False) -> str:
    """The noun in a case: weak -n, genitive -s, dative plural -n."""
    if plural:
        return noun.plural + ("n" if case == "dative" and noun.plural[-1] not in "ns" else "")
    if case == "genitive":
        return noun.genitive
    return noun.genitive if noun.weak and case != "nominative" else noun.german


def contract(preposition: str, phrase: str) -> str:
    """A preposition before a noun phrase that it governs: zu der Schule -> zur Schule."""
    first, _, rest = phrase.partition(" ")
    joined = _CONTRACTIONS.get(f"{preposition} {first}") if rest else None
    return f"{joined} {rest}" if joined else f"{preposition} {phrase}"


def present(infinitive: str, person: int, *, plural: bool, second: str = "", third: str = "") -> str:
    """The present tense of an irregular verb, or of one whose second and third person are given; no prefix."""
    if infinitive in _IRREGULAR_PRESENT:
        return _IRREGULAR_PRESENT[infinitive].split()[3 if plural else person - 1]
    if plural:
        return infinitive
    stem = infinitive.removesuffix("n").removesuffix("e")
    return (f"{stem}e", second, third)[person - 1]


def past(infinitive: str, person: int, *, plural: bool) -> str:
    """The simple past of the few verbs that prefer it to the perfect."""
    stem = _PAST_STEMS[infinitive]
    strong = stem == "war"
    if plural:
        return stem + ("en" if strong else "n")
    return stem + ("st" if person == 2 else "")


def verb_present(verb: Verb, person: int, *, plural: bool) -> str:
    """The finite present form of a lexicon verb, without its separable prefix."""
    return present(verb.infinitive, person, plural=plural, second=verb.second, third=verb.third)


def imperative(verb: Verb) -> str:
    """The form that commands one person, without the separable prefix: kaufe, öffne, gib, lies, trink."""
    stem = verb.infinitive.removesuffix("n").removesuffix("e")
    if "i" in verb.third and "i" not in stem:  # e becomes i: gibst, nimmst, but liest and isst have the s in their stem
        return verb.second.removesuffix("st") if not stem.endswith(("s", "ss")) else verb.second.removesuffix("t")
    weak = verb.german_participle.endswith("t")
    return stem + ("e" if weak or needs_e(stem) else "")


def zu_infinitive(verb: Verb) -> str:
    """The infinitive with zu: zu kaufen, einzukaufen."""
    return f"{verb.prefix}zu{verb.infinitive}" if verb.prefix else f"zu {verb.infinitive}"


REFLEXIVE = {(1, False): "mich", (2, False): "dich", (1, True): "uns"}


def reflexive(person: int, *, plural: bool) -> str:
    """The accusative reflexive pronoun."""
    return REFLEXIVE.get((person, plural), "sich")
