"""Adverbials: where, when, how often, how, why. Ready phrases in both languages, with tags to choose by."""

from dataclasses import dataclass

from seq2seq.data.sample_corpus import german
from seq2seq.data.sample_corpus.nouns import NOUN


@dataclass(frozen=True, slots=True)
class Phrase:
    """An adverbial that never inflects."""

    english: str
    german: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A place as a location (in the park, im Park) and as a goal (to the park, in den Park)."""

    location: Phrase
    goal: Phrase
    tags: tuple[str, ...]


# noun | preposition of rest, English and German | preposition of motion | tags. The tags home, kitchen, park, work,
# eat, shop, town and water say what is done there, near and far how one gets there.
_NOUN_PLACES = """
    kitchen | in in | into in | home kitchen near indoors
    living_room | in in | into in | home near indoors
    bedroom | in in | into in | home near indoors
    garden | in in | into in | home park near
    cellar | in in | into in | near indoors
    garage | in in | into in | near indoors
    bathroom | in in | into in | near indoors
    classroom | in in | into in | near indoors
    office | in in | to in | work near indoors
    park | in in | to in | park town near
    forest | in in | into in | park near
    restaurant | in in | to in | work eat town near
    hotel | in in | to in | work eat
    cinema | in in | to in | town near
    theatre | in in | to in | town work near
    museum | in in | to in | town work near
    library | in in | to in | work town near
    hospital | in in | to in | work near
    school | in in | to zu | work near
    church | in in | to in | near
    supermarket | in in | to in | shop work near
    bakery | in in | to zu | shop work near
    pharmacy | in in | to zu | work near
    market | at auf | to auf | shop town near
    station | at an | to zu | town near
    beach | at an | to zu | park near
    lake | at an | to zu | park near
    river | at an | to zu | near
    zoo | in in | to in | work town near
    castle | in in | to zu |
    city | in in | into in | shop town near
    village | in in | into in | shop
"""
_CITIES = """Berlin Berlin, Hamburg Hamburg, Dresden Dresden, Munich München, Cologne Köln, Vienna Wien, Paris Paris,
    London London, Rome Rom, Prague Prag, Zurich Zürich"""
_COUNTRIES = (
    """Germany Deutschland, France Frankreich, Italy Italien, Spain Spanien, Austria Österreich, Poland Polen"""
)


def _noun_place(line: str) -> Place:
    name, rest, motion, tags = (part.strip() for part in line.split("|"))
    noun = NOUN[name.replace("_", " ")]
    (rest_english, rest_german), (motion_english, motion_german) = rest.split(), motion.split()
    dative = f"{german.article('der', 'dative', noun.gender)} {noun.german}"
    goal_case = "dative" if motion_german == "zu" else "accusative"
    goal = f"{german.article('der', goal_case, noun.gender)} {noun.german}"
    return Place(
        Phrase(f"{rest_english} the {noun.english}", german.contract(rest_german, dative)),
        Phrase(f"{motion_english} the {noun.english}", german.contract(motion_german, goal)),
        tuple(tags.split()),
    )


def _named_place(names: str, *tags: str) -> Place:
    english, name = names.split()
    return Place(Phrase(f"in {english}", f"in {name}"), Phrase(f"to {english}", f"nach {name}"), tags)


PLACES: tuple[Place, ...] = (
    *(_noun_place(line) for line in _NOUN_PLACES.strip().splitlines()),
    *(_named_place(names, "far") for names in _CITIES.split(",")),
    *(_named_place(names, "far", "country") for names in _COUNTRIES.split(",")),
    Place(Phrase("in Switzerland", "in der Schweiz"), Phrase("to Switzerland", "in die Schweiz"), ("far", "country")),
    Place(Phrase("at home", "zu Hause"), Phrase("home", "nach Hause"), ("home", "near", "eat")),
    Place(Phrase("in the water", "im Wasser"), Phrase("into the water", "ins Wasser"), ("water",)),
    Place(Phrase("in the lake", "im See"), Phrase("into the lake", "in den See"), ("water",)),
    Place(Phrase("in the river", "im Fluss"), Phrase("into the river", "in den Fluss"), ("water",)),
    Place(Phrase("in the sea", "im Meer"), Phrase("into the sea", "ins Meer"), ("water",)),
)


def _phrases(lines: str) -> tuple[Phrase, ...]:
    rows = [[part.strip() for part in line.split("|")] for line in lines.strip().splitlines()]
    return tuple(Phrase(row[0], row[1], tuple(row[2].split()) if len(row) > 2 else ()) for row in rows)


_MONTHS = """January Januar, February Februar, March März, April April, May Mai, June Juni, July Juli, August August,
    September September, October Oktober, November November, December Dezember"""
_DAYS = """Monday Montag, Tuesday Dienstag, Wednesday Mittwoch, Thursday Donnerstag, Friday Freitag, Saturday Samstag,
    Sunday Sonntag"""
_NUMBERS = """two zwei, three drei, four vier, five fünf, six sechs, seven sieben, eight acht, nine neun, ten zehn,
    eleven elf, twelve zwölf, twenty zwanzig, thirty dreißig"""


def _pairs(words: str) -> tuple[tuple[str, str], ...]:
    """Split "two zwei, three drei"."""
    split = [pair.split() for pair in words.split(",")]
    return tuple((english, german_word) for english, german_word in split)


NUMBERS = _pairs(_NUMBERS)
_HOURS = (("one", "eins"), *NUMBERS[:11])


DATES: tuple[Phrase, ...] = tuple(
    Phrase(f"on {day} {english}", f"am {day}. {name}") for english, name in _pairs(_MONTHS) for day in range(1, 29)
)
CLOCK_TIMES: tuple[Phrase, ...] = (
    *(Phrase(f"at {hour} o'clock", f"um {'ein' if name == 'eins' else name} Uhr") for hour, name in _HOURS),
    # German counts towards the coming hour: half past two is "halb drei"
    *(Phrase(f"at half past {hour[0]}", f"um halb {_HOURS[(i + 1) % 12][1]}") for i, hour in enumerate(_HOURS)),
    *(Phrase(f"at a quarter past {hour}", f"um Viertel nach {name}") for hour, name in _HOURS),
    *(Phrase(f"at a quarter to {hour}", f"um Viertel vor {name}") for hour, name in _HOURS),
)
_SPANS = (
    ("day", "days", "einem Tag", "Tagen"),
    ("week", "weeks", "einer Woche", "Wochen"),
    ("month", "months", "einem Monat", "Monaten"),
    ("year", "years", "einem Jahr", "Jahren"),
)
PAST_TIMES: tuple[Phrase, ...] = (
    *_phrases("""
        yesterday | gestern
        yesterday evening | gestern Abend
        this morning | heute Morgen
        last week | letzte Woche
        last year | letztes Jahr
        last month | letzten Monat
        last summer | letzten Sommer
        last winter | letzten Winter
    """),
    *(Phrase(f"last {day}", f"letzten {name}") for day, name in _pairs(_DAYS)),
    *(
        Phrase(f"{number} {plural} ago", f"vor {name} {many}")
        for number, name in NUMBERS[:9]
        for _, plural, _, many in _SPANS
    ),
    *(Phrase(f"a {one} ago", f"vor {einem}") for one, _, einem, _ in _SPANS),
)
FUTURE_TIMES: tuple[Phrase, ...] = (
    *_phrases("""
        tomorrow | morgen
        tomorrow morning | morgen früh
        tomorrow evening | morgen Abend
        next week | nächste Woche
        next year | nächstes Jahr
        next month | nächsten Monat
        next summer | nächsten Sommer
        soon | bald
        later | später
    """),
    *(Phrase(f"next {day}", f"nächsten {name}") for day, name in _pairs(_DAYS)),
    *(
        Phrase(f"in {number} {plural}", f"in {name} {many}")
        for number, name in NUMBERS[:9]
        for _, plural, _, many in _SPANS
    ),
)
DAY_TIMES: tuple[Phrase, ...] = tuple(Phrase(f"on {day}", f"am {name}") for day, name in _pairs(_DAYS))
PRESENT_TIMES: tuple[Phrase, ...] = _phrases("""
    today | heute
    now | jetzt
    at the moment | im Moment
""")
HABIT_TIMES: tuple[Phrase, ...] = (
    *_phrases("""
        every day | jeden Tag
        every morning | jeden Morgen
        every evening | jeden Abend
        every week | jede Woche
        in summer | im Sommer
        in winter | im Winter
        in spring | im Frühling
        in the evening | am Abend
        in the morning | am Morgen
        in the afternoon | am Nachmittag
        at the weekend | am Wochenende
    """),
    *(Phrase(f"every {day}", f"jeden {name}") for day, name in _pairs(_DAYS)),
)
FREQUENCIES: tuple[Phrase, ...] = _phrases("""
    often | oft
    always | immer
    sometimes | manchmal
    usually | meistens
    rarely | selten
""")
NEVER = Phrase("never", "nie")
ALREADY = Phrase("already", "schon")
JUST = Phrase("just", "gerade")
CAUSES: tuple[Phrase, ...] = _phrases("""
    because of the rain | wegen des Regens
    because of the storm | wegen des Sturms
    because of the bad weather | wegen des schlechten Wetters
    because of the cold | wegen der Kälte
    because of the noise | wegen des Lärms
    despite the rain | trotz des Regens
    despite the bad weather | trotz des schlechten Wetters
    despite the cold | trotz der Kälte
    despite the noise | trotz des Lärms
""")
DURINGS: tuple[Phrase, ...] = _phrases("""
    during the lesson | während des Unterrichts
    during the meal | während des Essens
    during the journey | während der Reise
    during the concert | während des Konzerts
    during the break | während der Pause
    before the examination | vor der Prüfung
    after the meal | nach dem Essen
    after the lesson | nach dem Unterricht
    after the concert | nach dem Konzert
    before the party | vor der Feier
    after the party | nach der Feier
    before the journey | vor der Reise
""")
MANNERS: tuple[Phrase, ...] = _phrases("""
    slowly | langsam | work eat read write dance swim cook clean open close paint carry repair translate
    quickly | schnell | run eat read swim cook clean repair translate write get~dressed wash
    carefully | vorsichtig | open close carry wash repair
    well | gut | sing dance swim cook paint sleep work play
    badly | schlecht | sing dance cook sleep paint
    loudly | laut | laugh sing cry read
    quietly | leise | sing cry play read
    with pleasure | mit Freude | work help sing
""")
WITH_TRANSPORT: tuple[Phrase, ...] = _phrases("""
    by train | mit dem Zug
    by car | mit dem Auto
    by bus | mit dem Bus
    by ship | mit dem Schiff
""")
NAMES: tuple[tuple[str, str], ...] = (
    ("Anna", "she"), ("Maria", "she"), ("Lena", "she"), ("Julia", "she"), ("Emma", "she"), ("Clara", "she"),
    ("Peter", "he"), ("Paul", "he"), ("Martin", "he"), ("Tim", "he"), ("David", "he"), ("Oliver", "he"),
)  # fmt: skip
