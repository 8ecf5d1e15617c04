"""Coordination, reasons, conditions, reported content: two clauses in one sentence."""

from dataclasses import replace

from seq2seq.data.sample_corpus.being import being
from seq2seq.data.sample_corpus.clause import (
    MUST,
    WANT,
    Clause,
    Tense,
    english_statement,
    german_question,
    german_statement,
    german_subordinate,
)
from seq2seq.data.sample_corpus.grammar import STATES, Grammar
from seq2seq.data.sample_corpus.noun_phrase import OWNER, NounPhrase, referring_to
from seq2seq.data.sample_corpus.nouns import tagged
from seq2seq.data.sample_corpus.phrases import PAST_TIMES, PLACES, Phrase
from seq2seq.data.sample_corpus.sentence import Sentence, sentence
from seq2seq.data.sample_corpus.verbs import VERBS, Verb, verb


def coordination(grammar: Grammar) -> Sentence:
    """The man is cooking and the woman is reading; ... while the woman is reading."""
    tense = grammar.one((Tense.PROGRESSIVE, Tense.PROGRESSIVE, Tense.PAST, Tense.FUTURE))
    frames = ("alone", "alone", "accusative", "direction", "prepositional")
    first = grammar.clause(frames=frames, simple=True, tense=tense)
    second = grammar.clause(frames=frames, simple=True, tense=tense)
    if first.subject.english == second.subject.english or first.verb is second.verb or first.tense is not tense:
        return coordination(grammar)
    if second.tense is not tense or {first.verb.lemma, second.verb.lemma} & set(STATES):
        return coordination(grammar)
    draw = grammar.one(("and", "but", "while"))
    if draw == "while" and tense is Tense.PROGRESSIVE:
        return sentence(
            f"{english_statement(first)} while {english_statement(second)}",
            f"{german_statement(first)}, {german_subordinate(second, 'während')}",
            ".", first, second,
        )  # fmt: skip
    english, words = (", but", ", aber") if draw == "but" and tense is not Tense.FUTURE else (" and", " und")
    return sentence(
        f"{english_statement(first)}{english} {english_statement(second)}",
        f"{german_statement(first)}{words} {german_statement(second)}",
        ".", first, second,
    )  # fmt: skip


# state: what it leads to, and what is done in spite of it
_STATES_OF_MIND = {
    "tired": (
        "müde",
        "sleep rest fall~asleep stay~home go~home",
        "work read dance go~out clean cook tidy~up repair swim write drive help",
    ),
    "ill": ("krank", "sleep rest stay~home go~home", "work go~out swim dance smoke cook travel fly visit go~shopping"),
    "hungry": ("hungrig", "eat! cook! go~home bake!", "wait work sing help read play"),
    "thirsty": ("durstig", "drink!", "wait work sing dance help"),
    "busy": ("beschäftigt", "hurry", "help visit call invite pick~up listen~to meet cook wait~for"),
    "happy": ("glücklich", "laugh sing dance", "cry"),
    "sad": ("traurig", "cry go~home", "laugh sing dance go~out"),
    "angry": ("wütend", "go~home go~out", "help thank greet invite answer laugh"),
    "nervous": ("nervös", "smoke hurry get~up", "sing dance laugh sleep"),
}
_BY_LEMMA: dict[str, Verb] = {}
for _frame in ("alone", "dative", "prepositional", "direction", "accusative"):
    for _verb in VERBS[_frame]:
        _BY_LEMMA.setdefault(_verb.lemma, _verb)
_HOME = next(place for place in PLACES if place.goal.english == "home")
_STAY = next(found for found in VERBS["location"] if found.lemma == "stay")
_WANTED = tuple(verb(lemma) for lemma in ("visit", "meet", "see", "buy", "pick up"))
_DUTIES = tuple(verb(lemma) for lemma in ("clean", "repair", "write", "read", "translate", "cook", "wash", "feed"))


def _consequence(grammar: Grammar, word: str, subject: NounPhrase, tense: Tense) -> Clause:
    """What somebody in a state does; a mark ! takes the verb with its object."""
    lemma = word.replace("~", " ").rstrip("!")
    if lemma == "stay home":
        return Clause(subject=subject, verb=_STAY, goal=_HOME.location, tense=tense)
    if lemma == "go home":
        return Clause(subject=subject, verb=_BY_LEMMA["go"], goal=_HOME.goal, tense=tense)
    action = verb(lemma) if word.endswith("!") else _BY_LEMMA[lemma]
    return grammar.clause(subject=subject, verbs=(action,), simple=True, tense=tense)


def subordinate(grammar: Grammar) -> Sentence:
    """Because, although: the verb of the German clause goes to its end, and inversion follows a fronted clause."""
    subject = grammar.subject(verb("repair"))
    if not subject.back:
        return subordinate(grammar)
    shared = referring_to(subject)
    tense = grammar.one((Tense.PAST, Tense.PAST, Tense.PROGRESSIVE))
    because = grammar.chance(0.6)
    kind = grammar.one(("state", "want", "duty"))
    if kind == "state":
        if subject.combinations:  # "the happy man cried because he was sad"
            return subordinate(grammar)
        state = grammar.one(tuple(_STATES_OF_MIND))
        german_state, leads_to, in_spite = _STATES_OF_MIND[state]
        main = _consequence(grammar, grammar.one((leads_to if because else in_spite).split()), subject, tense)
        reason = being(shared, Phrase(state, german_state), tense=Tense.PAST if tense is Tense.PAST else Tense.PRESENT)
    elif kind == "want":
        going = grammar.one([found for found in VERBS["direction"] if found.lemma in ("drive", "travel", "fly")])
        main = grammar.clause(subject=subject, verbs=(going,), simple=True, tense=tense)
        reason = grammar.clause(subject=shared, verbs=_WANTED, simple=True, tense=Tense.PRESENT)
        reason = replace(reason, modal=WANT, modal_past=tense is Tense.PAST, negated=not because)
    else:
        main = _consequence(grammar, grammar.one(("stay~home", "go~home", "hurry", "get~up")), subject, tense)
        reason = grammar.clause(subject=shared, verbs=_DUTIES, simple=True, tense=Tense.PRESENT)
        reason = replace(reason, modal=MUST, modal_past=tense is Tense.PAST)
        because = True
    if tense is Tense.PAST and grammar.chance(0.3):
        main = replace(main, time=grammar.one(PAST_TIMES))
    english, conjunction = ("because", "weil") if because else ("although", "obwohl")
    wanted = reason.accusative
    quantified = wanted and (wanted.english.startswith(("all the", "every")) or (wanted.plural and not wanted.definite))
    if main.tense is not tense or (reason.negated and quantified):
        return subordinate(grammar)
    if grammar.chance(0.3):
        # the noun stands in whichever clause comes first
        main, reason = replace(main, subject=shared), replace(reason, subject=subject)
        return sentence(
            f"{english} {english_statement(reason)}, {english_statement(main)}",
            f"{german_subordinate(reason, conjunction)}, {german_question(main)}",
            ".", reason, main,
        )  # fmt: skip
    return sentence(
        f"{english_statement(main)} {english} {english_statement(reason)}",
        f"{german_statement(main)}, {german_subordinate(reason, conjunction)}",
        ".", main, reason,
    )  # fmt: skip


_YOUNG = tuple(found for found in VERBS["alone"] if found.lemma in ("swim", "sing", "dance", "cook", "read", "play"))
_YOUTH = (("young", "jung"), ("young", "jung"), ("small", "klein"), ("a child", "ein Kind"))


def memory(grammar: Grammar) -> Sentence:
    """When she was young, she lived in Berlin: als with the past."""
    subject = grammar.subject(verb("repair"))
    if (
        not subject.back
        or subject.english.startswith("every")
        or any(pair.startswith(("young", "old")) for pair in subject.combinations)
    ):
        return memory(grammar)
    shared = referring_to(subject)
    draw = grammar.one(("live", "have", "gladly"))
    if draw == "live":
        then = grammar.clause(frames=("location",), subject=shared, simple=True, tense=Tense.PAST)
        if then.verb.lemma != "live":
            return memory(grammar)
    elif draw == "gladly":
        then = replace(Clause(subject=shared, verb=grammar.one(_YOUNG), tense=Tense.PAST), gladly=True)
    else:
        then = Clause(subject=shared, verb=verb(grammar.one(("have", "love"))), tense=Tense.PAST)
        belonging = grammar.some_noun(tagged("pet", "toy", "bicycle"), plural=0.2, adjective=0.5)
        if belonging.english.startswith(
            ("this", "these", "the ", "every", "my", "your", "his", "her", "our", "their", "all")
        ):
            return memory(grammar)
        if then.verb.lemma == "love":
            belonging = grammar.definite(tagged("pet", "toy", "bicycle"), owner=OWNER[subject.back])
        then = replace(then, accusative=belonging)
    word, german_word = grammar.one(_YOUTH)
    if word == "a child" and subject.plural:
        word, german_word = "children", "Kinder"
    when = being(subject, Phrase(word, german_word), tense=Tense.PAST)
    return sentence(
        f"when {english_statement(when)}, {english_statement(then)}",
        f"{german_subordinate(when, 'als')}, {german_question(then)}",
        ".", when, then,
    )  # fmt: skip


_WEATHER = (
    ("it rains", "es regnet", "stay~home sleep read watch_television cook hurry drive"),
    ("it snows", "es schneit", "stay~home sleep read watch_television cook hurry play"),
    ("the sun shines", "die Sonne scheint", "swim dance laugh play go~out go run"),
    ("it is cold", "es kalt ist", "stay~home sleep read watch_television cook"),
    ("it is warm", "es warm ist", "swim dance play go~out go run"),
)


def condition(grammar: Grammar) -> Sentence:
    """If it rains, they will stay at home: wenn."""
    if grammar.chance(0.4):
        return memory(grammar)
    if grammar.chance(0.6):
        english_weather, weather, actions = grammar.one(_WEATHER)
        main = _consequence(
            grammar, grammar.one(actions.replace("_", "~").split()), grammar.subject(verb("repair")), Tense.FUTURE
        )
        conditional, wenn, parts = f"if {english_weather}", f"wenn {weather}", (main,)
        if grammar.chance(0.4):
            return sentence(
                f"{english_statement(main)} {conditional}", f"{german_statement(main)}, {wenn}", ".", *parts
            )
        return sentence(f"{conditional}, {english_statement(main)}", f"{wenn}, {german_question(main)}", ".", *parts)
    subject = grammar.subject(verb("repair"))
    if not subject.back or subject.combinations:
        return condition(grammar)
    state = grammar.one(("tired", "ill", "hungry", "thirsty", "happy", "sad", "angry"))
    german_state, leads_to, _ = _STATES_OF_MIND[state]
    reason = being(subject, Phrase(state, german_state))
    main = _consequence(grammar, grammar.one(leads_to.split()), referring_to(subject), Tense.FUTURE)
    if main.tense is not Tense.FUTURE:
        return condition(grammar)
    return sentence(
        f"if {english_statement(reason)}, {english_statement(main)}",
        f"{german_subordinate(reason, 'wenn')}, {german_question(main)}",
        ".", reason, main,
    )  # fmt: skip


_SAYING = tuple(verb(lemma, "clause") for lemma in ("say", "believe", "hope", "know"))
_KNOW = verb("know", "clause")


def report(grammar: Grammar) -> Sentence:
    """She knows that he is tired; he does not know whether she is coming, where she lives."""
    main = Clause(subject=grammar.subject(_KNOW), verb=grammar.one(_SAYING))
    if main.subject.english.startswith(("a ", "an ")):
        return report(grammar)
    content = grammar.clause()
    kind = grammar.one(("that", "that", "whether", "why"))
    if content.subject.english == main.subject.english:
        return report(grammar)
    conjunction = "dass"
    if kind != "that":
        main = replace(main, verb=_KNOW, negated=kind == "whether" or grammar.chance(0.7))
        content = replace(content, negated=False, not_yet=False, frequency=None)
        conjunction = "ob"
    if kind == "why":
        kind, conjunction = grammar.one((("why", "warum"), ("when", "wann")))
        if kind == "when" and (
            content.verb.lemma in STATES or content.tense in (Tense.PERFECT, Tense.PROGRESSIVE) or content.modal
        ):
            kind, conjunction = "why", "warum"
        if kind == "when":
            content = replace(content, time=None, frequency=None)
        if content.gladly or content.frequency:
            content = replace(content, gladly=False, frequency=None)
    if main.subject.english.startswith("every") and main.negated:
        return report(grammar)
    return sentence(
        f"{english_statement(main)} {kind} {english_statement(content)}",
        f"{german_statement(main)}, {german_subordinate(content, conjunction)}",
        ".", main, content,
    )  # fmt: skip
