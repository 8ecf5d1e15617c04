"""The embedded sample corpus: its splits, its hold-out, and its forms against a grammar book."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import seq2seq
from seq2seq.data.sample_corpus import LEAST_OCCURRENCES, SIZES, german, held_out, sample_pairs, split_of, word_forms
from seq2seq.data.sample_corpus import clause as clauses
from seq2seq.data.sample_corpus.adjectives import ADJECTIVES, Adjective
from seq2seq.data.sample_corpus.clause import Clause, Tense
from seq2seq.data.sample_corpus.grammar import Grammar
from seq2seq.data.sample_corpus.noun_phrase import PRONOUNS, NounPhrase, noun_phrase, referring_to
from seq2seq.data.sample_corpus.nouns import NOUN, NOUNS
from seq2seq.data.sample_corpus.phrases import ALREADY, CLOCK_TIMES, NEVER, PLACES, Phrase
from seq2seq.data.sample_corpus.relative_clauses import relative_pronoun
from seq2seq.data.sample_corpus.templates import TEMPLATES
from seq2seq.data.sample_corpus.verbs import VERBS, verb

Pairs = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def corpus() -> Pairs:
    return {split: list(sample_pairs(split)) for split in SIZES}


# --- the corpus as a whole ---------------------------------------------------------------------------------------


def test_sizes(corpus: Pairs) -> None:
    assert {split: len(pairs) for split, pairs in corpus.items()} == SIZES
    assert SIZES["train"] >= 50_000


def test_is_distinct_and_english_decides_german(corpus: Pairs) -> None:
    english = [source for pairs in corpus.values() for source, _ in pairs]
    assert len(set(english)) == len(english)


def test_any_two_draws_of_a_sentence_agree() -> None:
    """What the splits keep is the first draw of each English sentence, so ask the grammar itself."""
    translations: dict[str, str] = {}
    grammar = Grammar(seed=7)
    for _ in range(300):
        for template, _ in TEMPLATES:
            sentence = template(grammar)
            assert translations.setdefault(sentence.english, sentence.german) == sentence.german, sentence.english


def test_seed_decides(corpus: Pairs) -> None:
    other = list(sample_pairs("test", seed=2))
    assert len(other) == SIZES["test"]
    assert other != corpus["test"]


def test_same_in_another_process(corpus: Pairs) -> None:
    """Nothing depends on the order of sets, which differs from process to process."""
    program = (
        "from seq2seq.data.sample_corpus.grammar import Grammar\n"
        "from seq2seq.data.sample_corpus.templates import TEMPLATES\n"
        "grammar = Grammar(5)\n"
        "print(*[template(grammar).german for _ in range(9) for template, _ in TEMPLATES], sep='|')"
    )
    outputs = []
    for hash_seed in ("1", "2"):
        root = str(Path(seq2seq.__file__).parents[1])
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONUTF8": "1", "PYTHONPATH": root}
        command = [sys.executable, "-c", program]
        outputs.append(
            subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=environment).stdout
        )
    assert outputs[0] == outputs[1]
    assert outputs[0].count("|") > 100


def test_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'dev'.*train, valid, test"):
        sample_pairs("dev")


def test_every_word_of_test_and_valid_is_in_train(corpus: Pairs) -> None:
    for side in (0, 1):
        count: dict[str, int] = {}
        for pair in corpus["train"]:
            for word in word_forms(pair[side]):
                count[word] = count.get(word, 0) + 1
        for split in ("valid", "test"):
            for pair in corpus[split]:
                rare = [word for word in word_forms(pair[side]) if count.get(word, 0) < LEAST_OCCURRENCES]
                assert not rare, pair


def test_held_out_combinations_are_not_in_train(corpus: Pairs) -> None:
    """Looked for as text, apart from the grammar's own bookkeeping: adjective + noun standing side by side."""
    reserved = [
        f" {adjective.english} {noun_form}"
        for adjective in ADJECTIVES
        for noun in NOUNS
        for noun_form in (noun.english, noun.english_plural)
        if held_out(f"{adjective.english}+{noun.english}") == "test" and noun_form != "-"
    ]
    assert len(reserved) > 100
    train = {
        " " + " ".join(two)
        for english, _ in corpus["train"]
        for two in zip(word_forms(english), word_forms(english)[1:], strict=False)
    }
    test_text = " ".join(english for english, _ in corpus["test"])
    assert not train.intersection(reserved)
    assert sum(combination in test_text for combination in reserved) > 10


def test_held_out_predicates_are_not_in_train(corpus: Pairs) -> None:
    """As text again: "the man is tired" where tired+man is reserved."""
    adjectives = {found.english for found in ADJECTIVES}
    seen = 0
    for split in ("train", "test"):
        for english, _ in corpus[split]:
            words = [word for word in word_forms(english) if word not in ("not", "very", "too", "If", "When")]
            if len(words) > 3 and words[1] in NOUN and words[2] in ("is", "was") and words[3] in adjectives:
                if split == "train":
                    assert held_out(f"{words[3]}+{words[1]}") == "train", english
                seen += split == "test" and held_out(f"{words[3]}+{words[1]}") == "test"
    assert seen > 10


def test_split_of_reads_the_combinations() -> None:
    grammar = Grammar(seed=3)
    seen = set()
    for _ in range(2000):
        sentence = TEMPLATES[0][0](grammar)
        homes = {held_out(combination) for combination in sentence.combinations} - {"train"}
        expected = "train" if not homes else homes.pop() if len(homes) == 1 else None
        assert split_of(sentence) == expected
        seen.add(expected)
    assert {"train", "valid", "test"} <= seen


def test_is_quick() -> None:
    start = time.process_time()
    grammar = Grammar(seed=1)
    for _ in range(100):
        for template, _ in TEMPLATES:
            template(grammar)
    assert time.process_time() - start < 2.5  # about a twenty-fifth of the corpus; usually a tenth of this


@pytest.mark.parametrize("template", [template for template, _ in TEMPLATES], ids=lambda template: template.__name__)
def test_every_template_makes_tidy_sentences(template) -> None:  # type: ignore[no-untyped-def]
    grammar = Grammar(seed=11)
    for _ in range(100):
        sentence = template(grammar)
        for text in (sentence.english, sentence.german):
            assert text[0].isupper() and text[-1] in ".?!"
            assert "  " not in text and " ," not in text and " ." not in text and "_" not in text and "~" not in text
            assert not any(mark in text for mark in ("|", "/", "  ", "-."))


# --- German forms, from a grammar book ----------------------------------------------------------------------------

ARTICLES = {
    ("der", "m"): "der den dem des",
    ("der", "f"): "die die der der",
    ("der", "n"): "das das dem des",
    ("der", "plural"): "die die den der",
    ("ein", "m"): "ein einen einem eines",
    ("ein", "f"): "eine eine einer einer",
    ("ein", "n"): "ein ein einem eines",
    ("kein", "plural"): "keine keine keinen keiner",
    ("dies", "n"): "dieses dieses diesem dieses",
    ("jed", "m"): "jeder jeden jedem jedes",
    ("welch", "f"): "welche welche welcher welcher",
    ("unser", "m"): "unser unseren unserem unseres",
}


@pytest.mark.parametrize(("determiner", "expected"), ARTICLES.items(), ids=str)
def test_articles(determiner: tuple[str, str], expected: str) -> None:
    assert [german.article(determiner[0], case, determiner[1]) for case in german.CASES] == expected.split()


PHRASES = [
    ("man", "the", "der alte Mann", "den alten Mann", "dem alten Mann", "des alten Mannes"),
    ("man", "a", "ein alter Mann", "einen alten Mann", "einem alten Mann", "eines alten Mannes"),
    ("woman", "the", "die alte Frau", "die alte Frau", "der alten Frau", "der alten Frau"),
    ("woman", "my", "meine alte Frau", "meine alte Frau", "meiner alten Frau", "meiner alten Frau"),
    ("horse", "a", "ein altes Pferd", "ein altes Pferd", "einem alten Pferd", "eines alten Pferdes"),
    ("horse", "this", "dieses alte Pferd", "dieses alte Pferd", "diesem alten Pferd", "dieses alten Pferdes"),
    ("wine", "", "alter Wein", "alten Wein", "altem Wein", "alten Weines"),
    ("milk", "", "alte Milch", "alte Milch", "alter Milch", "alter Milch"),
    ("student", "the", "der alte Student", "den alten Studenten", "dem alten Studenten", "des alten Studenten"),
]


def adjective(english: str) -> Adjective:
    return next(found for found in ADJECTIVES if found.english == english)


@pytest.mark.parametrize("row", PHRASES, ids=lambda row: f"{row[1]} {row[0]}")
def test_declension(row: tuple[str, ...]) -> None:
    noun, determiner, *expected = row
    assert list(noun_phrase(NOUN[noun], determiner, (adjective("old"),)).german) == expected


PLURALS = [
    ("child", "the", "die alten Kinder", "die alten Kinder", "den alten Kindern", "der alten Kinder"),
    ("child", "", "alte Kinder", "alte Kinder", "alten Kindern", "alter Kinder"),
    ("child", "all the", "alle alten Kinder", "alle alten Kinder", "allen alten Kindern", "aller alten Kinder"),
    ("child", "many", "viele alte Kinder", "viele alte Kinder", "vielen alten Kindern", "vieler alter Kinder"),
    ("car", "our", "unsere alten Autos", "unsere alten Autos", "unseren alten Autos", "unserer alten Autos"),
    ("woman", "these", "diese alten Frauen", "diese alten Frauen", "diesen alten Frauen", "dieser alten Frauen"),
]


@pytest.mark.parametrize("row", PLURALS, ids=lambda row: f"{row[1]} {row[0]}")
def test_declension_of_plurals(row: tuple[str, ...]) -> None:
    noun, determiner, *expected = row
    assert list(noun_phrase(NOUN[noun], determiner, (adjective("old"),), plural=True).german) == expected


def test_numbers_take_strong_endings_and_kein_mixed_ones() -> None:
    assert (
        noun_phrase(NOUN["book"], "", (adjective("new"),), number=("two", "zwei")).case("dative")
        == "zwei neuen Büchern"
    )
    assert noun_phrase(NOUN["book"], "a", (adjective("new"),)).case("accusative", negated=True) == "kein neues Buch"
    assert (
        noun_phrase(NOUN["coffee"], "", (adjective("hot"),)).case("accusative", negated=True) == "keinen heißen Kaffee"
    )


def test_adjective_stems_that_lose_an_e() -> None:
    expected = {"teuer": "teures", "dunkel": "dunkles", "sauer": "saures", "müde": "müdes", "schön": "schönes"}
    assert {word: german.attributive(word, "mixed", "nominative", "n") for word in expected} == expected


def test_a_and_an() -> None:
    phrases = {noun: noun_phrase(NOUN[noun], "a").english for noun in ("apple", "uncle", "uniform", "umbrella", "car")}
    assert list(phrases.values()) == ["an apple", "an uncle", "a uniform", "an umbrella", "a car"]
    assert noun_phrase(NOUN["car"], "a", (adjective("ugly"),)).english == "an ugly car"
    assert noun_phrase(NOUN["man"], "a", (adjective("honest"),)).english == "an honest man"


def test_weak_masculines() -> None:
    weak = {noun.german for noun in NOUNS if noun.weak}
    assert weak == {
        *("Junge", "Nachbar", "Kollege", "Student", "Bauer", "Polizist", "Tourist", "Löwe", "Bär", "Affe", "Elefant"),
    }


PRESENT = {
    # infinitive: ich, du, er, wir, of the first verb with that lemma
    ("drive", "direction"): "fahre fährst fährt fahren",
    ("read", "accusative"): "lese liest liest lesen",
    ("eat", "accusative"): "esse isst isst essen",
    ("help", "dative"): "helfe hilfst hilft helfen",
    ("wait", "alone"): "warte wartest wartet warten",
    ("open", "accusative"): "öffne öffnest öffnet öffnen",
    ("sit", "posture"): "sitze sitzt sitzt sitzen",
    ("travel", "direction"): "reise reist reist reisen",
    ("invite", "accusative"): "lade lädst lädt laden",
    ("know", "clause"): "weiß weißt weiß wissen",
    ("like", "accusative"): "mag magst mag mögen",
    ("have", "accusative"): "habe hast hat haben",
    ("feed", "accusative"): "füttere fütterst füttert füttern",
}


@pytest.mark.parametrize(("which", "expected"), PRESENT.items(), ids=str)
def test_present_tense(which: tuple[str, str], expected: str) -> None:
    found = verb(*which)
    persons = ((1, False), (2, False), (3, False), (3, True))
    assert [german.verb_present(found, person, plural=plural) for person, plural in persons] == expected.split()


def test_participles() -> None:
    expected = {
        "work": "gearbeitet",
        "get up": "aufgestanden",
        "buy": "gekauft",
        "sell": "verkauft",
        "repair": "repariert",
        "open": "geöffnet",
        "turn on": "eingeschaltet",
        "visit": "besucht",
        "hurry": "beeilt",
        "congratulate": "gratuliert",
        "greet": "begrüßt",
        "tidy up": "aufgeräumt",
        "translate": "übersetzt",
        "like": "gemocht",
        "tell": "erzählt",
        "wash": "gewaschen",
        "order": "bestellt",
    }
    everything = {found.lemma: found for frame in reversed(VERBS) for found in VERBS[frame]}
    assert {lemma: everything[lemma].german_participle for lemma in expected} == expected


def test_verbs_of_motion_and_change_form_the_perfect_with_sein() -> None:
    with_sein = {found.lemma for frame in VERBS for found in VERBS[frame] if found.auxiliary == "sein"}
    assert with_sein == {
        *(
            "swim",
            "arrive",
            "get up",
            "wake up",
            "fall asleep",
            "come back",
            "go out",
            "follow",
            "go",
            "run",
            "drive",
            "travel",
        ),
        *("fly", "come", "return", "stay", "leave"),
    }


def test_imperatives() -> None:
    expected = {
        "read": "lies",
        "eat": "iss",
        "forget": "vergiss",
        "open": "öffne",
        "carry": "trag",
        "feed": "füttere",
        "buy": "kaufe",
    }
    assert {lemma: german.imperative(verb(lemma)) for lemma in expected} == expected
    assert german.imperative(verb("help", "dative")) == "hilf"
    assert german.imperative(verb("give", "ditransitive")) == "gib"
    assert german.imperative(verb("talk to", "prepositional")) == "sprich"


def test_contractions() -> None:
    phrases = [
        ("in", "dem Garten"),
        ("in", "das Haus"),
        ("zu", "der Schule"),
        ("von", "dem Arzt"),
        ("in", "den Garten"),
    ]
    assert [german.contract(*phrase) for phrase in phrases] == [
        "im Garten",
        "ins Haus",
        "zur Schule",
        "vom Arzt",
        "in den Garten",
    ]


def test_clock() -> None:
    times = {phrase.english: phrase.german for phrase in CLOCK_TIMES}
    assert times["at half past seven"] == "um halb acht"
    assert times["at half past twelve"] == "um halb eins"
    assert times["at one o'clock"] == "um ein Uhr"
    assert times["at a quarter to three"] == "um Viertel vor drei"


def test_places_at_rest_and_as_goals() -> None:
    german_of = {place.location.english: (place.location.german, place.goal.german) for place in PLACES}
    assert german_of["in the park"] == ("im Park", "in den Park")
    assert german_of["in the school"] == ("in der Schule", "zur Schule")
    assert german_of["at the station"] == ("am Bahnhof", "zum Bahnhof")
    assert german_of["in Berlin"] == ("in Berlin", "nach Berlin")
    assert german_of["in Switzerland"] == ("in der Schweiz", "in die Schweiz")
    assert german_of["at home"] == ("zu Hause", "nach Hause")


def test_relative_pronouns() -> None:
    assert [relative_pronoun("m", case) for case in german.CASES] == ["der", "den", "dem", "dessen"]
    assert [relative_pronoun("plural", case) for case in german.CASES] == ["die", "die", "denen", "deren"]


def test_it_follows_the_german_gender() -> None:
    back = [referring_to(noun_phrase(NOUN[noun])).case("accusative") for noun in ("table", "lamp", "book")]
    assert back == ["ihn", "sie", "es"]


# --- whole clauses, translated by hand ---------------------------------------------------------------------------


def the(noun: str, determiner: str = "the") -> NounPhrase:
    return noun_phrase(NOUN[noun], determiner)


YESTERDAY = Phrase("yesterday", "gestern")
BUY = Clause(subject=the("man"), verb=verb("buy"), accusative=the("book", "a"), tense=Tense.PAST, time=YESTERDAY)
CALL = Clause(subject=the("woman"), verb=verb("call"), accusative=the("boy"))
GET_UP = Clause(subject=PRONOUNS["she"], verb=verb("get up", "alone"), time=Phrase("today", "heute"))
HURRY = Clause(subject=the("man"), verb=verb("hurry", "alone"))
GIVE = Clause(subject=the("teacher"), verb=verb("give", "ditransitive"), accusative=the("book"), dative=the("child"))
PUT = Clause(
    subject=the("woman"),
    verb=verb("put", "placing"),
    accusative=the("book"),
    goal=Phrase("on the table", "auf den Tisch"),
)
CLAUSES = [
    (BUY, "the man bought a book yesterday", "der Mann hat gestern ein Buch gekauft"),
    (replace(BUY, negated=True), "the man did not buy a book yesterday", "der Mann hat gestern kein Buch gekauft"),
    (
        replace(BUY, accusative=the("book"), negated=True),
        "the man did not buy the book yesterday",
        "der Mann hat das Buch gestern nicht gekauft",
    ),
    (CALL, "the woman calls the boy", "die Frau ruft den Jungen an"),
    (replace(CALL, tense=Tense.PERFECT), "the woman has called the boy", "die Frau hat den Jungen angerufen"),
    (replace(CALL, modal=clauses.MUST), "the woman must call the boy", "die Frau muss den Jungen anrufen"),
    (
        replace(CALL, modal=clauses.CAN, negated=True),
        "the woman cannot call the boy",
        "die Frau kann den Jungen nicht anrufen",
    ),
    (
        replace(CALL, modal=clauses.MUST, modal_past=True, negated=True),
        "the woman did not have to call the boy",
        "die Frau musste den Jungen nicht anrufen",
    ),
    (replace(CALL, accusative=PRONOUNS["he"], gladly=True), "the woman likes to call him", "die Frau ruft ihn gern an"),
    (replace(CALL, tense=Tense.FUTURE), "the woman will call the boy", "die Frau wird den Jungen anrufen"),
    (
        replace(CALL, tense=Tense.PERFECT, frequency=ALREADY),
        "the woman has already called the boy",
        "die Frau hat den Jungen schon angerufen",
    ),
    (replace(CALL, frequency=NEVER), "the woman never calls the boy", "die Frau ruft den Jungen nie an"),
    (GET_UP, "she gets up today", "sie steht heute auf"),
    (replace(GET_UP, tense=Tense.PAST, time=None), "she got up", "sie ist aufgestanden"),
    (HURRY, "the man hurries", "der Mann beeilt sich"),
    (replace(HURRY, subject=PRONOUNS["you"], tense=Tense.PAST), "you hurried", "du hast dich beeilt"),
    (GIVE, "the teacher gives the book to the child", "der Lehrer gibt dem Kind das Buch"),
    (replace(GIVE, recipient_first=True), "the teacher gives the child the book", "der Lehrer gibt dem Kind das Buch"),
    (
        replace(GIVE, dative=PRONOUNS["he"], accusative=the("book", "a")),
        "the teacher gives a book to him",
        "der Lehrer gibt ihm ein Buch",
    ),
    (PUT, "the woman puts the book on the table", "die Frau legt das Buch auf den Tisch"),
    (
        replace(PUT, negated=True),
        "the woman does not put the book on the table",
        "die Frau legt das Buch nicht auf den Tisch",
    ),
    (
        Clause(
            subject=PRONOUNS["they"],
            verb=verb("wait for", "prepositional"),
            prepositional=the("train"),
            tense=Tense.PROGRESSIVE,
        ),
        "they are waiting for the train",
        "sie warten auf den Zug",
    ),
    (
        Clause(
            subject=PRONOUNS["I"],
            verb=verb("drive", "direction"),
            goal=Phrase("to Berlin", "nach Berlin"),
            negated=True,
        ),
        "I do not drive to Berlin",
        "ich fahre nicht nach Berlin",
    ),
    (
        Clause(subject=the("car"), verb=verb("repair"), passive=True, tense=Tense.PAST, time=YESTERDAY),
        "the car was repaired yesterday",
        "das Auto wurde gestern repariert",
    ),
    (
        Clause(subject=the("car"), verb=verb("repair"), passive=True, tense=Tense.FUTURE),
        "the car will be repaired",
        "das Auto wird repariert werden",
    ),
    (
        Clause(subject=the("boy"), verb=clauses.BE, goal=Phrase("tired", "müde"), tense=Tense.PAST, negated=True),
        "the boy was not tired",
        "der Junge war nicht müde",
    ),
]


@pytest.mark.parametrize(("clause", "english", "expected"), CLAUSES, ids=[row[1] for row in CLAUSES])
def test_statements(clause: Clause, english: str, expected: str) -> None:
    assert clauses.english_statement(clause) == english
    assert clauses.german_statement(clause) == expected


def test_inversion_after_a_fronted_adverbial() -> None:
    assert clauses.german_statement(BUY, YESTERDAY) == "gestern hat der Mann ein Buch gekauft"
    assert clauses.english_statement(BUY, YESTERDAY) == "yesterday the man bought a book"


def test_verb_last_in_subordinate_clauses() -> None:
    assert clauses.german_subordinate(GET_UP, "weil") == "weil sie heute aufsteht"
    assert clauses.german_subordinate(BUY, "dass") == "dass der Mann gestern ein Buch gekauft hat"
    assert clauses.german_subordinate(replace(CALL, modal=clauses.CAN), "ob") == "ob die Frau den Jungen anrufen kann"
    assert clauses.german_subordinate(HURRY, "obwohl") == "obwohl sich der Mann beeilt"
    assert clauses.german_subordinate(replace(HURRY, subject=PRONOUNS["he"]), "wenn") == "wenn er sich beeilt"


def test_questions() -> None:
    assert clauses.english_question(BUY) == "did the man buy a book yesterday"
    assert clauses.german_question(BUY) == "hat der Mann gestern ein Buch gekauft"
    assert clauses.german_question(GET_UP, "wann") == "wann steht sie heute auf"


def test_infinitives_with_zu() -> None:
    assert clauses.german_infinitive(BUY) == "gestern ein Buch zu kaufen"
    assert clauses.german_infinitive(CALL) == "den Jungen anzurufen"


def test_particle_verbs_let_a_pronoun_in() -> None:
    turn_on = Clause(subject=PRONOUNS["he"], verb=verb("turn on"), accusative=the("lamp"))
    assert clauses.english_statement(turn_on) == "he turns on the lamp"
    assert clauses.english_statement(replace(turn_on, accusative=referring_to(the("lamp")))) == "he turns it on"
