"""Nouns: English singular and plural, German gender, forms, and what the noun means.

One line a noun, sections by kind. A line reads ``english plural | gender German Genitive Plural | further tags``;
feminine nouns leave out the genitive (it equals the nominative), mass nouns have ``-`` for both plurals, and an
underscore stands for a space.
A noun's tags are its kind and the further tags; verbs, adjectives and templates choose nouns by tag.
"""

from dataclasses import dataclass
from functools import cache

_BY_KIND = {
    "male": """
        man men | m Mann Mannes Männer
        boy boys | m Junge Jungen Jungen | child
        father fathers | m Vater Vaters Väter | kin
        brother brothers | m Bruder Bruders Brüder | kin
        son sons | m Sohn Sohnes Söhne | kin
        uncle uncles | m Onkel Onkels Onkel | kin
        grandfather grandfathers | m Großvater Großvaters Großväter | kin
        friend friends | m Freund Freundes Freunde | mine
        neighbour neighbours | m Nachbar Nachbarn Nachbarn | mine
        colleague colleagues | m Kollege Kollegen Kollegen | mine
        teacher teachers | m Lehrer Lehrers Lehrer | mine
        pupil pupils | m Schüler Schülers Schüler | child
        student students | m Student Studenten Studenten
        doctor doctors | m Arzt Arztes Ärzte | mine
        baker bakers | m Bäcker Bäckers Bäcker
        farmer farmers | m Bauer Bauern Bauern
        policeman policemen | m Polizist Polizisten Polizisten
        gardener gardeners | m Gärtner Gärtners Gärtner
        judge judges | m Richter Richters Richter
        painter painters | m Maler Malers Maler
        tourist tourists | m Tourist Touristen Touristen
        writer writers | m Schriftsteller Schriftstellers Schriftsteller
        mechanic mechanics | m Mechaniker Mechanikers Mechaniker
        postman postmen | m Briefträger Briefträgers Briefträger
        musician musicians | m Musiker Musikers Musiker
        guest guests | m Gast Gastes Gäste | mine
        waiter waiters | m Kellner Kellners Kellner
        boss bosses | m Chef Chefs Chefs | mine
        engineer engineers | m Ingenieur Ingenieurs Ingenieure
    """,
    "female": """
        woman women | f Frau Frauen
        mother mothers | f Mutter Mütter | kin
        sister sisters | f Schwester Schwestern | kin
        daughter daughters | f Tochter Töchter | kin
        aunt aunts | f Tante Tanten | kin
        grandmother grandmothers | f Großmutter Großmütter | kin
        nurse nurses | f Krankenschwester Krankenschwestern
        actress actresses | f Schauspielerin Schauspielerinnen
        waitress waitresses | f Kellnerin Kellnerinnen
        singer singers | f Sängerin Sängerinnen
        dancer dancers | f Tänzerin Tänzerinnen
        secretary secretaries | f Sekretärin Sekretärinnen
    """,
    "neuter_person": """
        child children | n Kind Kindes Kinder | child
        girl girls | n Mädchen Mädchens Mädchen | child
    """,
    "animal": """
        dog dogs | m Hund Hundes Hunde | pet
        cat cats | f Katze Katzen | pet
        horse horses | n Pferd Pferdes Pferde | farm
        cow cows | f Kuh Kühe | farm
        pig pigs | n Schwein Schweins Schweine | farm
        goat goats | f Ziege Ziegen | farm
        rabbit rabbits | n Kaninchen Kaninchens Kaninchen | pet
        bird birds | m Vogel Vogels Vögel | pet
        duck ducks | f Ente Enten | farm
        lion lions | m Löwe Löwen Löwen | wild
        bear bears | m Bär Bären Bären | wild
        wolf wolves | m Wolf Wolfes Wölfe | wild
        fox foxes | m Fuchs Fuchses Füchse | wild
        monkey monkeys | m Affe Affen Affen | wild
        elephant elephants | m Elefant Elefanten Elefanten | wild
    """,
    "food": """
        apple apples | m Apfel Apfels Äpfel | fruit
        pear pears | f Birne Birnen | fruit
        banana bananas | f Banane Bananen | fruit
        orange oranges | f Orange Orangen | fruit
        cherry cherries | f Kirsche Kirschen | fruit
        tomato tomatoes | f Tomate Tomaten | fruit
        potato potatoes | f Kartoffel Kartoffeln | cookable
        carrot carrots | f Karotte Karotten | cookable
        egg eggs | n Ei Eies Eier | cookable
        soup soups | f Suppe Suppen | cookable course
        cake cakes | m Kuchen Kuchens Kuchen | baked course
        biscuit biscuits | m Keks Kekses Kekse | baked
        pizza pizzas | f Pizza Pizzas | baked course
        sausage sausages | f Wurst Würste
        salad salads | m Salat Salats Salate | course
        steak steaks | n Steak Steaks Steaks | course
    """,
    "mass_food": """
        bread - | n Brot Brotes - | baked
        cheese - | m Käse Käses -
        meat - | n Fleisch Fleisches - | cookable
        rice - | m Reis Reises - | cookable
        honey - | m Honig Honigs -
        chocolate - | f Schokolade -
    """,
    "drink": """
        water - | n Wasser Wassers -
        milk - | f Milch -
        coffee - | m Kaffee Kaffees -
        tea - | m Tee Tees -
        juice - | m Saft Saftes -
        lemonade - | f Limonade -
        wine - | m Wein Weines -
        beer - | n Bier Bieres -
    """,
    "text": """
        book books | n Buch Buches Bücher | written paper shop lendable
        novel novels | m Roman Romans Romane | written paper shop lendable
        letter letters | m Brief Briefes Briefe | written paper sent
        postcard postcards | f Postkarte Postkarten | written paper sent shop
        message messages | f Nachricht Nachrichten | written sent
        report reports | m Bericht Berichts Berichte | written paper sent
        poem poems | n Gedicht Gedichts Gedichte | written
        story stories | f Geschichte Geschichten | written
        newspaper newspapers | f Zeitung Zeitungen | paper shop
        magazine magazines | f Zeitschrift Zeitschriften | paper shop lendable
    """,
    "garment": """
        uniform uniforms | f Uniform Uniformen | worn
        shirt shirts | n Hemd Hemdes Hemden | worn
        sock socks | f Socke Socken | worn
        jacket jackets | f Jacke Jacken | worn
        coat coats | m Mantel Mantels Mäntel | worn
        jumper jumpers | m Pullover Pullovers Pullover | worn
        boot boots | m Stiefel Stiefels Stiefel | worn
        suit suits | m Anzug Anzugs Anzüge | worn
        hat hats | m Hut Hutes Hüte
        scarf scarves | m Schal Schals Schals
        tie ties | f Krawatte Krawatten
        shoe shoes | m Schuh Schuhes Schuhe | worn
    """,
    "portable": """
        key keys | m Schlüssel Schlüssels Schlüssel
        knife knives | n Messer Messers Messer
        spoon spoons | m Löffel Löffels Löffel
        fork forks | f Gabel Gabeln
        pen pens | m Stift Stiftes Stifte | lendable coloured
        phone phones | n Handy Handys Handys | lendable machine coloured
        umbrella umbrellas | m Regenschirm Regenschirms Regenschirme | lendable coloured
        photo photos | n Foto Fotos Fotos | sent
        ball balls | m Ball Balles Bälle | toy lendable coloured
        doll dolls | f Puppe Puppen | toy
        camera cameras | f Kamera Kameras | lendable machine
        ticket tickets | f Fahrkarte Fahrkarten | sent
        pillow pillows | n Kissen Kissens Kissen | coloured
        blanket blankets | f Decke Decken | coloured
    """,
    "vessel": """
        bottle bottles | f Flasche Flaschen | openable
        glass glasses | n Glas Glases Gläser | dish
        cup cups | f Tasse Tassen | dish
        plate plates | m Teller Tellers Teller | dish
        pot pots | m Topf Topfes Töpfe | dish
        vase vases | f Vase Vasen
        bucket buckets | m Eimer Eimers Eimer
        basket baskets | m Korb Korbes Körbe | container
        box boxes | f Kiste Kisten | openable container
        suitcase suitcases | m Koffer Koffers Koffer | openable container
        bag bags | f Tasche Taschen | openable container
    """,
    "device": """
        lamp lamps | f Lampe Lampen | machine
        radio radios | n Radio Radios Radios | machine
        television televisions | m Fernseher Fernsehers Fernseher | machine
        computer computers | m Computer Computers Computer | machine
        oven ovens | m Ofen Ofens Öfen | machine
        washing_machine washing_machines | f Waschmaschine Waschmaschinen | machine
    """,
    "wall_piece": """
        picture pictures | n Bild Bildes Bilder | painted
        mirror mirrors | m Spiegel Spiegels Spiegel
        clock clocks | f Uhr Uhren | machine
        calendar calendars | m Kalender Kalenders Kalender
    """,
    "furniture": """
        table tables | m Tisch Tisches Tische | surface landmark
        desk desks | m Schreibtisch Schreibtisches Schreibtische | surface landmark
        chair chairs | m Stuhl Stuhls Stühle | surface landmark seat
        bed beds | n Bett Bettes Betten | surface landmark seat
        sofa sofas | n Sofa Sofas Sofas | surface landmark seat
        bench benches | f Bank Bänke | surface landmark seat
        carpet carpets | m Teppich Teppichs Teppiche | surface
        cupboard cupboards | m Schrank Schranks Schränke | landmark container openable
        fridge fridges | m Kühlschrank Kühlschranks Kühlschränke | container openable machine
        drawer drawers | f Schublade Schubladen | container openable
    """,
    "opening": """
        door doors | f Tür Türen | landmark openable
        window windows | n Fenster Fensters Fenster | openable
    """,
    "vehicle": """
        car cars | n Auto Autos Autos | machine owned landmark
        bicycle bicycles | n Fahrrad Fahrrads Fahrräder | machine owned
        motorbike motorbikes | n Motorrad Motorrads Motorräder | machine owned
        boat boats | n Boot Bootes Boote | built owned
        lorry lorries | m Lastwagen Lastwagens Lastwagen | machine
        bus buses | m Bus Busses Busse | timetable machine
        train trains | m Zug Zuges Züge | timetable
        ship ships | n Schiff Schiffes Schiffe | timetable built
        tram trams | f Straßenbahn Straßenbahnen | timetable
        taxi taxis | n Taxi Taxis Taxis
    """,
    "building": """
        house houses | n Haus Hauses Häuser | built landmark mine
        school schools | f Schule Schulen | built landmark
        church churches | f Kirche Kirchen | built landmark sight
        hospital hospitals | n Krankenhaus Krankenhauses Krankenhäuser | built landmark
        museum museums | n Museum Museums Museen | landmark sight
        theatre theatres | n Theater Theaters Theater | built landmark
        cinema cinemas | n Kino Kinos Kinos | landmark
        hotel hotels | n Hotel Hotels Hotels | built landmark
        restaurant restaurants | n Restaurant Restaurants Restaurants | landmark
        library libraries | f Bibliothek Bibliotheken | built landmark
        supermarket supermarkets | m Supermarkt Supermarkts Supermärkte | landmark
        bakery bakeries | f Bäckerei Bäckereien | landmark
        pharmacy pharmacies | f Apotheke Apotheken | landmark
        station stations | m Bahnhof Bahnhofs Bahnhöfe | landmark
        castle castles | n Schloss Schlosses Schlösser | sight landmark
        bridge bridges | f Brücke Brücken | built sight
    """,
    "room": """
        kitchen kitchens | f Küche Küchen
        living_room living_rooms | n Wohnzimmer Wohnzimmers Wohnzimmer
        bedroom bedrooms | n Schlafzimmer Schlafzimmers Schlafzimmer
        bathroom bathrooms | n Badezimmer Badezimmers Badezimmer
        cellar cellars | m Keller Kellers Keller
        garage garages | f Garage Garagen
        office offices | n Büro Büros Büros | mine
        classroom classrooms | n Klassenzimmer Klassenzimmers Klassenzimmer
    """,
    "outdoors": """
        garden gardens | m Garten Gartens Gärten | mine
        park parks | m Park Parks Parks
        forest forests | m Wald Waldes Wälder
        city cities | f Stadt Städte | sight
        village villages | n Dorf Dorfes Dörfer | sight
        island islands | f Insel Inseln | sight
        market markets | m Markt Marktes Märkte
        zoo zoos | m Zoo Zoos Zoos
        lake lakes | m See Sees Seen
        river rivers | m Fluss Flusses Flüsse
        beach beaches | m Strand Strandes Strände
        street streets | f Straße Straßen
        tree trees | m Baum Baumes Bäume | landmark
    """,
    "topic": """
        question questions | f Frage Fragen | explained
        answer answers | f Antwort Antworten
        problem problems | n Problem Problems Probleme | explained solved
        exercise exercises | f Aufgabe Aufgaben | explained solved
        plan plans | m Plan Plans Pläne | explained
        rule rules | f Regel Regeln | explained
        word words | n Wort Wortes Wörter | explained
        song songs | n Lied Liedes Lieder | sung
        joke jokes | m Witz Witzes Witze
        film films | m Film Films Filme
    """,
    "occasion": """
        rain - | m Regen Regens -
        storm storms | m Sturm Sturms Stürme
        weather - | n Wetter Wetters -
        cold - | f Kälte -
        noise - | m Lärm Lärms -
        meal meals | n Essen Essens Essen
        journey journeys | f Reise Reisen
        concert concerts | n Konzert Konzerts Konzerte
        break breaks | f Pause Pausen
        party parties | f Feier Feiern
        examination examinations | f Prüfung Prüfungen
        exhibition exhibitions | f Ausstellung Ausstellungen
    """,
}

_OWNABLE_KINDS = ("text", "garment", "portable", "vessel", "device", "wall_piece", "furniture", "room")
PERSON_KINDS = ("male", "female", "neuter_person")


# compared by identity (eq=False): a noun exists once, and hashing eight fields would take a third of the time
@dataclass(frozen=True, slots=True, eq=False)
class Noun:
    """A noun in both languages; ``gender`` is m, f or n, ``genitive`` and ``plural`` are whole German words."""

    english: str
    english_plural: str
    gender: str
    german: str
    genitive: str
    plural: str
    tags: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The section of the table above that the noun stands in."""
        return self.tags[0]

    @property
    def mass(self) -> bool:
        """Has no plural and takes no indefinite article."""
        return self.english_plural == "-"

    @property
    def unique(self) -> bool:
        """One has only one of it: no plural is drawn for it."""
        return self.english in ("mother", "father")

    @property
    def ownable(self) -> bool:
        """Goes naturally with my, your ..."""
        return self.kind in _OWNABLE_KINDS or any(
            tag in ("kin", "mine", "owned", "pet", "farm", "explained", "sung") for tag in self.tags
        )

    @property
    def weak(self) -> bool:
        """Masculine with -n in every form but the nominative singular (der Junge, den Jungen)."""
        return self.gender == "m" and self.german != self.genitive == self.plural and self.genitive.endswith("n")


def _parse(kind: str, line: str) -> Noun:
    english, german, *further = (part.split() for part in line.split("|"))
    if german[0] == "f":
        german.insert(2, german[1])
    singular, plural = (word.replace("_", " ") for word in english)
    tags = [kind, *(further[0] if further else ())]
    if kind in PERSON_KINDS:
        tags += ["person"] if "child" in tags else ["person", "adult"]
    return Noun(singular, plural, german[0], german[1], german[2], german[3], tuple(tags))


NOUNS: tuple[Noun, ...] = tuple(
    _parse(kind, line) for kind, lines in _BY_KIND.items() for line in lines.strip().splitlines()
)
NOUN: dict[str, Noun] = {noun.english: noun for noun in NOUNS}


@cache
def tagged(*tags: str) -> tuple[Noun, ...]:
    """The nouns that carry at least one of the tags, in table order; the English word of a noun is also a tag of it."""
    for tag in tags:
        assert tag in NOUN or any(tag in noun.tags for noun in NOUNS), f"no noun is tagged {tag}"
    return tuple(noun for noun in NOUNS if noun.english in tags or any(tag in noun.tags for tag in tags))
