"""Adjectives: both languages, comparison, and the kinds of noun that each can describe.

A line reads ``english | german | comparison | tags of nouns``. The comparison is ``older oldest älter ältest``, or
``-`` where none is used; "more" comparisons are written with ``more`` and then the two German forms.
"""

from dataclasses import dataclass
from functools import cache

from seq2seq.data.sample_corpus.nouns import Noun

_LINES = """
    old | alt | older oldest älter ältest | adult animal text garment furniture vehicle building device city
    young | jung | younger youngest jünger jüngst | person animal
    tall | groß | taller tallest größer größt | person tree
    big | groß | bigger biggest größer größt | animal vessel furniture vehicle building room forest city lake
    small | klein | smaller smallest kleiner kleinst | person animal fruit vessel furniture vehicle building room
    strong | stark | stronger strongest stärker stärkst | man boy farmer horse lion bear elephant
    rich | reich | richer richest reicher reichst | man woman uncle aunt writer singer neighbour actress
    poor | arm | poorer poorest ärmer ärmst | man woman farmer painter student
    clever | klug | cleverer cleverest klüger klügst | person dog fox
    kind | nett | kinder kindest netter nettest | person
    happy | glücklich | happier happiest glücklicher glücklichst | person
    sad | traurig | sadder saddest trauriger traurigst | person story song film poem
    lazy | faul | lazier laziest fauler faulst | person dog cat
    friendly | freundlich | friendlier friendliest freundlicher freundlichst | person dog
    funny | lustig | funnier funniest lustiger lustigst | person monkey story song film joke
    polite | höflich | more höflicher höflichst | person
    patient | geduldig | more geduldiger geduldigst | person
    famous | berühmt | more berühmter berühmtest | writer painter musician singer actress dancer sight novel song film
    curious | neugierig | more neugieriger neugierigst | person cat monkey
    brave | mutig | braver bravest mutiger mutigst | person
    tired | müde | more müder - | person
    ill | krank | - | person animal
    hungry | hungrig | hungrier hungriest hungriger hungrigst | person animal
    thirsty | durstig | - | person animal
    angry | wütend | - | person
    nervous | nervös | - | person
    honest | ehrlich | more ehrlicher ehrlichst | person
    strict | streng | stricter strictest strenger strengst | teacher father mother judge boss
    busy | beschäftigt | - | doctor boss secretary waiter nurse
    wild | wild | - | animal
    dangerous | gefährlich | more gefährlicher gefährlichst | wild street river
    fast | schnell | faster fastest schneller schnellst | vehicle horse computer
    slow | langsam | slower slowest langsamer langsamst | lorry tram bus computer ship
    new | neu | newer newest neuer neuest | text garment portable vessel device furniture vehicle building boss
    expensive | teuer | more teurer teuerst | garment portable device wall_piece furniture vehicle wine hotel restaurant
    cheap | billig | cheaper cheapest billiger billigst | garment portable vessel device vehicle wine hotel restaurant
    beautiful | schön | more schöner schönst | garment wall_piece vessel building outdoors horse song poem woman actress
    ugly | hässlich | uglier ugliest hässlicher hässlichst | garment vessel wall_piece furniture building
    heavy | schwer | heavier heaviest schwerer schwerst | vessel furniture device
    light | leicht | lighter lightest leichter leichtest | jacket coat suitcase bag bicycle
    red | rot | - | garment coloured vessel fruit car bicycle motorbike boat door sofa
    blue | blau | - | garment coloured vessel car bicycle motorbike boat door sofa chair
    green | grün | - | garment coloured vessel fruit car bicycle boat door sofa bird
    yellow | gelb | - | garment coloured vessel car bicycle door bird house
    white | weiß | - | garment vessel car horse cat rabbit house furniture
    black | schwarz | - | garment coloured vessel car horse cat dog furniture
    brown | braun | - | garment horse dog rabbit bear furniture
    round | rund | - | table mirror clock carpet plate basket lamp
    broken | kaputt | - | device dish vase umbrella doll pen camera phone chair bicycle clock
    clean | sauber | cleaner cleanest sauberer sauberst | garment dish room window
    dirty | schmutzig | dirtier dirtiest schmutziger schmutzigst | garment dish room window car river
    empty | leer | - | vessel room building fridge drawer bus street
    dark | dunkel | darker darkest dunkler dunkelst | room forest street
    bright | hell | brighter brightest heller hellst | room lamp
    modern | modern | more moderner modernst | building room device furniture vehicle city
    comfortable | bequem | more bequemer bequemst | seat worn pillow
    long | lang | longer longest länger längst | text garment street bridge river film train journey
    short | kurz | shorter shortest kürzer kürzest | text street film journey break
    wide | breit | wider widest breiter breitest | street river bed door beach
    deep | tief | deeper deepest tiefer tiefst | lake river
    warm | warm | warmer warmest wärmer wärmst | worn blanket drink room soup
    cold | kalt | colder coldest kälter kältest | drink room soup river lake
    hot | heiß | hotter hottest heißer heißest | coffee tea milk soup
    fresh | frisch | fresher freshest frischer frischest | food mass_food milk juice
    sweet | süß | sweeter sweetest süßer süßest | fruit cake biscuit juice lemonade wine tea
    sour | sauer | - | fruit milk
    ripe | reif | riper ripest reifer reifst | fruit
    tasty | lecker | - | food cheese bread chocolate
    good | gut | better best besser best | food drink mass_food text restaurant hotel film answer question plan person
    bad | schlecht | worse worst schlechter schlechtest | text restaurant hotel film answer plan wine weather
    interesting | interessant | more interessanter interessantest | text topic sight
    boring | langweilig | more langweiliger langweiligst | text film exercise
    exciting | spannend | more spannender spannendst | book novel story film report
    difficult | schwierig | more schwieriger schwierigst | text question exercise problem word
    easy | einfach | easier easiest einfacher einfachst | text question exercise answer rule
    important | wichtig | more wichtiger wichtigst | letter message report question answer rule word plan key
    strange | seltsam | stranger strangest seltsamer seltsamst | person text question answer word animal
    quiet | ruhig | quieter quietest ruhiger ruhigst | room street village park hotel library lake
    loud | laut | louder loudest lauter lautest | street concert song radio
"""


@dataclass(frozen=True, slots=True, eq=False)
class Adjective:
    """An adjective; the comparison forms are None where the adjective is not compared here."""

    english: str
    german: str
    comparative: tuple[str, str] | None
    superlative: tuple[str, str] | None
    tags: tuple[str, ...]


def _parse(line: str) -> Adjective:
    english, german, comparison, tags = (part.strip() for part in line.split("|"))
    words = comparison.split()
    if words[0] == "-":
        return Adjective(english, german, None, None, tuple(tags.split()))
    if words[0] == "more":
        words[:1] = [f"more {english}", f"most {english}"]
    superlative = None if words[3] == "-" else (words[1], words[3])
    return Adjective(english, german, (words[0], words[2]), superlative, tuple(tags.split()))


ADJECTIVES: tuple[Adjective, ...] = tuple(_parse(line) for line in _LINES.strip().splitlines())
_OPPOSITES = tuple(
    line.split()
    for line in """
        old young new modern
        tall small big
        rich poor
        happy sad angry
        lazy busy
        fast slow
        expensive cheap
        beautiful ugly good
        heavy light
        red blue green yellow white black brown
        clean dirty
        dark bright
        long short
        warm cold hot fresh
        sweet sour ripe
        good bad tasty
        sour tasty
        interesting boring exciting
        bad interesting
        bad exciting
        good boring
        difficult easy
        easy strange
        quiet loud
        kind friendly angry
        kind strict friendly
        polite angry
        broken new
        funny sad
        brave nervous
        ill strong
        patient nervous
        tired curious
        busy tired
    """.strip().splitlines()
)


@cache
def adjectives_for(noun: Noun) -> tuple[Adjective, ...]:
    """The adjectives that can describe a noun."""
    return tuple(
        found for found in ADJECTIVES if noun.english in found.tags or any(tag in noun.tags for tag in found.tags)
    )


def opposed(first: str, second: str) -> bool:
    """Whether two English adjectives cannot both be true of one thing, or mean nearly the same."""
    return first == second or any(first in group and second in group for group in _OPPOSITES)
