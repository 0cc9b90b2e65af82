"""Word lists of the generated skills, written for this recipe. Data only."""

from __future__ import annotations

CATEGORIES: dict[str, list[str]] = {
    kind: words.split()
    for kind, words in {
        "fruit": "apple pear plum cherry peach grape lemon orange banana melon fig mango apricot lime kiwi berry",
        "animal": "dog cat horse cow sheep goat pig fox wolf bear lion tiger mouse rabbit deer donkey monkey camel",
        "bird": "crow robin owl eagle hawk duck goose swan hen parrot pigeon sparrow raven stork gull lark",
        "fish": "trout salmon cod herring carp pike shark eel perch tuna sardine bass",
        "tree": "oak elm ash birch pine cedar willow maple beech fir poplar palm",
        "flower": "rose lily daisy tulip violet poppy lilac orchid iris marigold pansy daffodil",
        "tool": "hammer saw axe spade drill wrench chisel rake shovel pliers file plane",
        "drink": "water milk tea coffee juice wine beer cider cocoa lemonade soda rum",
        "garment": "coat hat shirt dress scarf glove sock boot skirt belt cap jacket apron cloak",
        "colour": "red blue green yellow purple brown black white pink grey gold crimson",
        "body part": "hand foot knee elbow nose ear mouth chin neck arm leg shoulder finger toe",
        "vehicle": "car bus train boat ship cart bicycle lorry wagon sledge tram canoe plane truck",
        "instrument": "drum flute violin piano harp trumpet guitar horn fiddle organ banjo cello",
        "metal": "iron gold silver copper tin lead steel brass bronze zinc nickel",
        "room": "kitchen bedroom hall cellar attic bathroom parlour pantry nursery library study",
        "job": "baker farmer doctor teacher sailor tailor miller nurse cook painter soldier shepherd",
        "insect": "ant bee wasp fly moth beetle cricket flea gnat butterfly locust",
        "furniture": "table chair bed sofa desk bench shelf stool cupboard wardrobe couch",
    }.items()
}

OPPOSITES: list[tuple[str, str]] = [
    tuple(pair.split("/"))  # type: ignore[misc]
    for pair in (
        "hot/cold big/small tall/short long/brief old/young new/ancient fast/slow hard/soft light/heavy dark/bright "
        "wet/dry clean/dirty rich/poor strong/weak happy/sad good/bad right/wrong true/false open/shut full/empty "
        "high/low deep/shallow wide/narrow thick/thin early/late near/far loud/quiet rough/smooth sharp/blunt "
        "sweet/sour brave/timid wise/foolish kind/cruel polite/rude safe/dangerous easy/difficult cheap/costly "
        "same/different alive/dead awake/asleep first/last up/down in/out over/under before/after above/below "
        "always/never often/seldom many/few more/less all/none begin/end start/stop come/go give/take buy/sell "
        "push/pull win/lose love/hate laugh/cry rise/fall arrive/leave find/hide lend/borrow remember/forget "
        "ask/answer teach/learn build/destroy sink/float freeze/melt day/night summer/winter north/south east/west "
        "morning/evening friend/enemy king/queen man/woman boy/girl father/mother brother/sister uncle/aunt "
        "son/daughter husband/wife truth/lie peace/war top/bottom front/back inside/outside question/reply "
        "success/failure heaven/hell joy/sorrow hope/despair beauty/ugliness wealth/poverty victory/defeat "
        "guest/host master/servant giant/dwarf head/tail tame/wild simple/complex calm/stormy fresh/stale "
        "raw/cooked ripe/unripe lucky/unlucky public/private guilty/innocent proud/humble lazy/busy noisy/silent"
    ).split()
]

NAMES: list[str] = (
    "Anna Tom Mary John Lucy Peter Alice Jack Nora Sam Rose Ben Ella Hugo Clara Max Grace Paul Ida Leo Jane Mark "
    "Ruth Adam Eva Oscar Helen Frank Dora Simon Kate Luke Sarah Henry Emma David Julia Robert Martha George"
).split()

PLACES: list[str] = (
    "garden kitchen barn forest market school church tower cellar meadow harbour castle stable library attic mill "
    "orchard village cave bakery"
).split()

THINGS: list[str] = (
    "lamp ring book key coin basket letter hat cup ball knife rope bell box mirror candle drum flute spoon purse map "
    "blanket brush whistle bottle kite"
).split()

PLAIN_WORDS: list[str] = (
    "cat river stone lamp table cloud bread horse chair tree moon fish door apple boat bell ring wolf rose hill milk "
    "coat king star bird fire book road snow tent wheel nest gate spoon sand leaf bridge candle shoe drum"
).split()

PLURALS: dict[str, str] = dict(
    pair.split("/")  # type: ignore[misc]
    for pair in (
        "key/keys dog/dogs lamp/lamps book/books door/doors boy/boys girl/girls ship/ships tree/trees bird/birds "
        "king/kings wheel/wheels window/windows horse/horses garden/gardens letter/letters table/tables coat/coats "
        "farmer/farmers sailor/sailors teacher/teachers box/boxes child/children man/men woman/women mouse/mice "
        "foot/feet goose/geese knife/knives leaf/leaves wolf/wolves story/stories city/cities baby/babies lady/ladies"
    ).split()
)

PLURAL_ADJECTIVES: list[str] = "old new small big lost red quiet dirty fine strange heavy little".split()
PREPOSITIONS: list[str] = ["near", "behind", "beside", "under", "of", "with", "before", "above"]

GOOD_WORDS: list[str] = (
    "good lovely wonderful excellent delightful pleasant charming bright fine splendid kind clever cheerful tasty "
    "perfect beautiful friendly helpful great fresh"
).split()
BAD_WORDS: list[str] = (
    "bad awful terrible dreadful horrid dull nasty cruel dirty broken boring rude ugly useless bitter poor wretched "
    "stupid gloomy stale"
).split()
REVIEWED: list[str] = (
    "soup bread hotel room book play song garden teacher waiter journey party cake film story concert shop bed "
    "dinner house game picture guide music tea weather"
).split()
