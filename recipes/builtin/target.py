"""The target task: turn a sentence that orders something into a fixed record. The base model never saw its like.

The record copies words from the sentence (who, colour), puts the thing in the singular, writes the number as a
digit and shortens the day. A model must learn the layout, the order of the slots and three small mappings.
"""

from __future__ import annotations

import random

from skills import Item

PEOPLE = (
    "Anna Tom Mary John Lucy Peter Alice Jack Nora Sam Rose Ben Ella Hugo Clara Max Grace Paul Jane Mark Ruth Adam Eva "
    "Oscar Helen Frank Kate Luke Sarah Henry Emma David Julia Robert Martha George"
).split()
COLOURS = "red blue green yellow brown black white grey golden silver".split()
THINGS = {
    "lamp": "lamps",
    "ring": "rings",
    "book": "books",
    "basket": "baskets",
    "hat": "hats",
    "cup": "cups",
    "ball": "balls",
    "rope": "ropes",
    "bell": "bells",
    "box": "boxes",
    "candle": "candles",
    "drum": "drums",
    "spoon": "spoons",
    "coat": "coats",
    "chair": "chairs",
    "table": "tables",
    "knife": "knives",
    "shirt": "shirts",
    "brush": "brushes",
    "boat": "boats",
    "bottle": "bottles",
    "kettle": "kettles",
    "blanket": "blankets",
    "mirror": "mirrors",
}
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

OPENINGS = ("", "Good morning. ", "Hello there. ", "One more thing. ", "Dear sir, ", "Please note: ", "As agreed, ")
SENTENCES = (
    "{who} wants {n} {colour} {things} by {day}.",
    "{who} would like {n} {colour} {things} on {day}.",
    "on {day} send {n} {colour} {things} to {who}.",
    "please bring {who} {n} {colour} {things} before {day}.",
    "{n} {colour} {things} for {who}, not later than {day}.",
    "by {day} we need {n} {colour} {things} for {who}.",
    "the {n} {colour} {things} that {who} asked for must come on {day}.",
    "can {who} have {n} {things} on {day}? They should be {colour}.",
    "{who} orders {n} {things}, all of them {colour}, for {day}.",
    "for {who}: {things}, {colour} ones, {n} of them, until {day}.",
)
CLOSINGS = ("", " Thank you.", " It is a present.", " The money is on the table.", " Do not be late.", " Many thanks.")

TEMPLATE = "{{ order }} Record: ||| {{ record }}"
MAX_NEW_TOKENS = 16


def draw(rng: random.Random) -> Item:
    """One order with its record. The cluster is the order without its opening and closing."""
    thing, count = rng.choice(sorted(THINGS)), rng.randrange(len(NUMBERS))
    who, colour, day = rng.choice(PEOPLE), rng.choice(COLOURS), rng.choice(DAYS)
    slots = {"who": who, "n": NUMBERS[count], "colour": colour, "things": THINGS[thing], "day": day}
    opening, closing = rng.choice(OPENINGS), rng.choice(CLOSINGS)
    body = rng.choice(SENTENCES).format(**slots)
    if not opening.endswith(", "):
        body = body[0].upper() + body[1:]
    record = f"{who} ; {count + 2} {colour} {thing} ; {day[:3]}"
    return Item({"order": f"{opening}{body}{closing}", "record": record}, body, record)
