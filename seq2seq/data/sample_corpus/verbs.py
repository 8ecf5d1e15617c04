"""Verbs: principal parts in both languages, grouped by the complements that they take.

A line reads ``english | german | what may stand beside it``.

English: ``base past participle ing``; a regular verb gives its base only. ``turn~on`` has a particle that a pronoun
comes before ("turn it on"), ``look_for`` a fixed preposition.

German: infinitive with a stroke after a separable prefix (``auf/stehen``), then, where the weak pattern does not give
them, the participle, ``sein`` for a perfect with sein, and the second and third person singular (``schläfst,schläft``).
``sich`` marks a reflexive verb.
"""

from dataclasses import dataclass

# place tags after @ are explained in phrases.py
_BY_FRAME = {
    "alone": """
        sleep slept slept sleeping | schlafen geschlafen schläfst,schläft | person animal @home
        work | arbeiten | adult @work
        laugh | lachen | person
        cry cried cried crying | weinen | child
        sing sang sung singing | singen gesungen | person @home @park
        dance | tanzen | person @home
        swim swam swum swimming | schwimmen geschwommen sein | person dog duck @water
        wait | warten | person @town
        cook | kochen | adult
        smoke | rauchen | adult
        play | spielen | child pet @home @park
        eat ate eaten eating | essen gegessen isst,isst | person @eat
        read read read reading | lesen gelesen liest,liest | person @home @park
        arrive | an/kommen angekommen sein | person
        get~up got got getting | auf/stehen aufgestanden sein | person
        wake~up woke woken waking | auf/wachen sein | person animal
        fall~asleep fell fallen falling | ein/schlafen eingeschlafen sein schläfst,schläft | person animal
        come~back came come coming | zurück/kommen zurückgekommen sein | person
        go~out went gone going | aus/gehen ausgegangen sein | adult
        watch_television watched watched watching | fern/sehen ferngesehen siehst,sieht | person @home
        tidy~up | auf/räumen | person
        go_shopping went gone going | ein/kaufen | adult @shop
        hurry | sich beeilen | person
        rest | sich aus/ruhen | person animal @home @park
        get~dressed got got getting | sich an/ziehen angezogen | person
    """,
    "accusative": """
        eat ate eaten eating | essen gegessen isst,isst | person : food mass_food @eat
        drink drank drunk drinking | trinken getrunken | person : drink @eat
        cook | kochen | adult : cookable @kitchen
        bake | backen gebacken | adult : baked @kitchen
        buy bought bought buying | kaufen | person : food mass_food drink @shop
        buy bought bought buying | kaufen | person : shop garment portable vessel device wall_piece furniture owned
        sell sold sold selling | verkaufen | adult : food vessel wall_piece furniture owned house horse cow goat
        look_for looked looked looking | suchen | person : garment portable pet suitcase bag book letter hotel
        find found found finding | finden gefunden | person : garment portable pet suitcase bag book letter
        lose lost lost losing | verlieren verloren | person : scarf hat shoe portable
        forget forgot forgotten forgetting | vergessen vergessen vergisst,vergisst | person : portable word rule book
        see saw seen seeing | sehen gesehen siehst,sieht | person : person animal vehicle sight film tree
        watch | beobachten | person : person animal
        hear heard heard hearing | hören | person : person dog bird cow song train noise
        carry | tragen getragen trägst,trägt | person : vessel chair table
        wash | waschen gewaschen wäschst,wäscht | person : worn dish car
        clean | putzen | person : room window shoe boot bicycle
        repair | reparieren | adult : machine chair door
        open | öffnen | person : openable letter
        close | schließen geschlossen | person : openable book
        read read read reading | lesen gelesen liest,liest | person : text @home @park
        write wrote written writing | schreiben geschrieben | person : written
        translate | übersetzen | adult : written
        understand understood understood understanding | verstehen verstanden | person : written topic person
        describe | beschreiben beschrieben | person : person sight wall_piece house problem plan
        paint | malen | person : picture tree horse cat bird house
        build built built building | bauen | adult : built
        visit | besuchen | person : person sight school
        meet met met meeting | treffen getroffen triffst,trifft | person : person @town
        love | lieben | person : person animal chocolate
        know knew known knowing | kennen gekannt | person : person sight song novel joke rule
        ask | fragen | person : person
        invite | ein/laden eingeladen lädst,lädt | person : person
        call | an/rufen angerufen | person : person
        pick~up | ab/holen | adult : person
        greet | begrüßen | person : person
        feed fed fed feeding | füttern | person : animal
        wear wore worn wearing | tragen getragen trägst,trägt | person : garment
        put~on put put putting | an/ziehen angezogen | person : worn
        turn~on | ein/schalten | person : device
        turn~off | aus/schalten | person : device
        throw~away threw thrown throwing | weg/werfen weggeworfen wirfst,wirft | person : shoe letter newspaper pot
        bring~along brought brought bringing | mit/bringen mitgebracht | person : cake salad wine umbrella camera friend
        need | brauchen | person : portable device worn owned suitcase desk
        order | bestellen | adult : course drink book novel
        solve | lösen | person : solved
        steal stole stolen stealing | stehlen gestohlen stiehlst,stiehlt | man : owned portable wall_piece
        like | mögen gemocht magst,mag | person : person animal food mass_food drink text sight garden
        have had had having | haben gehabt hast,hat | person : pet owned portable garment
    """,
    "dative": """
        help | helfen geholfen hilfst,hilft | person : person
        thank | danken | person : person
        answer | antworten | person : person
        follow | folgen sein | person animal : person
        trust | vertrauen | person : person
        listen_to listened listened listening | zu/hören | person : person
        congratulate | gratulieren | person : person
    """,
    "ditransitive": """
        give gave given giving | geben gegeben gibst,gibt | person : portable food text vessel garment
        show showed shown showing | zeigen | person : portable text wall_piece picture house garden vehicle pet garment
        send sent sent sending | schicken | person : sent
        bring brought brought bringing | bringen gebracht | person : food drink vessel portable text
        lend lent lent lending | leihen geliehen | person : lendable owned
        sell sold sold selling | verkaufen | adult : owned furniture house horse goat
        tell told told telling | erzählen | person : story joke
        explain | erklären | person : explained
        recommend | empfehlen empfohlen empfiehlst,empfiehlt | adult : book novel film restaurant hotel museum
    """,
    "prepositional": """
        wait_for | warten auf accusative | person : person timetable letter answer taxi
        think_of thought thought thinking | denken gedacht an accusative | person : person journey party examination
        talk_about | sprechen gesprochen sprichst,spricht über accusative | person : person text topic journey
        talk_to | sprechen gesprochen sprichst,spricht mit dative | person : person
        dream_of | träumen von dative | person : owned house island journey
        laugh_about | lachen über accusative | person : joke story film monkey
        play_with | spielen mit dative | child : toy pet child
        play_with | spielen mit dative | pet : ball
        look_after | sich kümmern um accusative | adult : person pet farm garden
        complain_about | sich beschweren über accusative | adult : weather noise meal hotel neighbour waiter
        remember | sich erinnern an accusative | person : person film story song journey word
        look_forward_to | sich freuen auf accusative | person : journey concert party meal film break
        ask_about | fragen nach dative | person : ticket answer key
    """,
    "direction": """
        go went gone going | gehen gegangen sein | person : near
        run ran run running | laufen gelaufen sein läufst,läuft | person dog : near
        drive drove driven driving | fahren gefahren sein fährst,fährt | adult : far town
        travel travelled travelled travelling | reisen sein | adult : far
        fly flew flown flying | fliegen geflogen sein | adult : far
        come came come coming | kommen gekommen sein | person : near
        return | zurück/kehren sein | adult : far
    """,
    "location": """
        live | wohnen | person : far village city castle house
        stay | bleiben geblieben sein | person : home near far
    """,
    "posture": """
        sit sat sat sitting | sitzen gesessen | person pet : on
        lie lay lain lying | liegen gelegen | person pet : on
        stand stood stood standing | stehen gestanden | person : beside
        hide hid hidden hiding | sich verstecken | child pet : beside
    """,
    "placing": """
        put put put putting | legen | person : portable paper
        put put put putting | stellen | person : vessel
    """,
    "clause": """
        say said said saying | sagen | person
        believe | glauben | person
        hope | hoffen | person
        know knew known knowing | wissen gewusst weißt,weiß | person
        try tried tried trying | versuchen versucht | adult
        begin began begun beginning | beginnen begonnen | adult
        forget forgot forgotten forgetting | vergessen vergessen vergisst,vergisst | adult
        plan planned planned planning | planen | adult
    """,
    "event": """
        arrive | an/kommen angekommen sein | timetable
        leave left left leaving | ab/fahren abgefahren sein fährst,fährt | timetable
        begin began begun beginning | beginnen begonnen | concert party examination exhibition film
    """,
}


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """A verb of both languages with one frame; ``lemma`` is the English one with particle and preposition."""

    lemma: str
    english: str
    past: str
    participle: str
    ing: str
    particle: str
    preposition: str
    infinitive: str
    prefix: str
    german_participle: str
    second: str
    third: str
    auxiliary: str
    reflexive: bool
    frame: str
    governs: tuple[str, str]
    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def progressive(self) -> bool:
        """Has a natural progressive in English."""
        return self.english not in _NOT_PROGRESSIVE.split()


_INSEPARABLE = ("be", "er", "ver", "ent", "emp", "zer", "über")
_NOT_PROGRESSIVE = (
    """be have like love need know understand remember trust see hear live find forget lose wake recommend"""
)


def regular_past(base: str) -> str:
    """Spell the regular English past of a verb whose last consonant is not doubled."""
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + "ed"


def regular_ing(base: str) -> str:
    """Spell the English -ing form of a verb whose last consonant is not doubled."""
    return base[:-1] + "ing" if base.endswith("e") and not base.endswith("ee") else base + "ing"


def _stem(infinitive: str) -> str:
    return infinitive[:-2] if infinitive.endswith("en") else infinitive[:-1]


def needs_e(stem: str) -> bool:
    """Whether -st and -t take a linking e after the stem: arbeit-et, öffn-et, but kommt, lern-t."""
    return stem[-1] in "td" or (stem[-1] in "mn" and stem[-2] not in "aeiouäöülrhmn" and stem[-2:] != "hn")


def _weak_participle(prefix: str, infinitive: str) -> str:
    stem = _stem(infinitive)
    ending = "et" if needs_e(stem) else "t"
    bare = infinitive.endswith("ieren") or infinitive.startswith(_INSEPARABLE)
    return f"{prefix}{'' if bare else 'ge'}{stem}{ending}"


def _parse(frame: str, line: str) -> Verb:
    english_part, german_part, beside = (part.strip() for part in line.split("|"))
    english, german = english_part.split(), german_part.split()
    base, _, particle = english[0].partition("~")
    fixed = frame in ("prepositional",) or base in ("look_for", "listen_to", "watch_television", "go_shopping")
    base, _, preposition = base.partition("_") if fixed else (base, "", "")
    parts = english[1:] or [regular_past(base), regular_past(base), regular_ing(base)]
    reflexive = german[0] == "sich"
    german = german[reflexive:]
    governs = ("", "")
    if frame == "prepositional":
        german, governs = german[:-2], (german[-2], german[-1])
    prefix, _, infinitive = german[0].rpartition("/")
    present = next((word.split(",") for word in german if "," in word), None)
    participle = next((word for word in german[1:] if "," not in word and word != "sein"), None)
    stem = _stem(infinitive)
    link = "e" if needs_e(stem) else ""
    second = stem + ("t" if stem[-1] in "sßzx" else link + "st")
    second, third = present or (second, f"{stem}{link}t")
    sides, _, places = beside.partition("@")
    subjects, _, objects = sides.partition(":")
    particle, preposition = particle.replace("_", " "), preposition.replace("_", " ")
    return Verb(
        lemma=" ".join(filter(None, (base, particle, preposition))),
        english=base,
        past=parts[0],
        participle=parts[1],
        ing=parts[2],
        particle=particle,
        preposition=preposition,
        infinitive=infinitive,
        prefix=prefix,
        german_participle=participle or _weak_participle(prefix, infinitive),
        second=second,
        third=third,
        auxiliary="sein" if "sein" in german else "haben",
        reflexive=reflexive,
        frame=frame,
        governs=governs,
        subjects=tuple(subjects.split()),
        objects=tuple(objects.split()),
        places=tuple(places.replace("@", " ").split()),
    )


VERBS: dict[str, tuple[Verb, ...]] = {
    frame: tuple(_parse(frame, line) for line in lines.strip().splitlines()) for frame, lines in _BY_FRAME.items()
}


def verb(lemma: str, frame: str = "accusative") -> Verb:
    """The first verb of a frame with this English dictionary form."""
    return next(found for found in VERBS[frame] if found.lemma == lemma)
