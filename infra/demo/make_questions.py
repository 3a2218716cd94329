"""The demo's questions: a seeded generator of small natural-language questions with answers.

Four tasks (`arithmetic`, `roman`, `words`, `units`), each made of several *kinds*. A kind is one
thing to do, in several phrasings; where its numbers or words have sizes, a question is `small` or
`large`. `train_models.py` teaches every model other kinds and sizes, so which model answers a
question depends on the kind (and size) that its text shows, and the task's label is only part of
that: "What is the sum of XIV and 3?" is labelled `roman`, "What is the sum of XIV and III?" is
labelled `arithmetic`, and they need different models; "How many ... are in ...?" may ask for a
conversion, for letters, or to read a numeral.

As a script it rewrites the two files shipped beside it, byte for byte the same every time:

    python infra/demo/make_questions.py

`questions/collect.jsonl`: 2,000 distinct questions (`text`, `task`, `reference`) to collect
outcomes on. `questions/route.jsonl.gz`: 10,000 other distinct questions, with an `id`.
"""

import argparse
import gzip
import json
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

Size = Literal["small", "large"]
Fields = dict[str, str]

SEED = 20260
COLLECT_QUERIES = 2_000
ROUTE_QUERIES = 10_000
LARGE_SHARE = 0.6
FOLDER = Path(__file__).resolve().parent / "questions"

OPENINGS = ("Please: ", "Tell me: ", "A question: ", "Quick one: ", "Next: ", "Help me: ")
PREFIXES = ("",) * len(OPENINGS) + OPENINGS


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


def _pairs(words: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in words.split())


ONES = _split(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
TENS = _split("twenty thirty forty fifty sixty seventy eighty ninety")

NUMERALS = (
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
)

NAMES = _split("Ann Ben Eva Ida Jim Kim Leo Max Mia Tom")
THINGS = _split("apples books coins eggs pears pens plums stamps")

SHORT_WORDS = _split(
    "ant ape arm art bag bat bay bed bee bus cap cat cow cup day dog ear egg eye fan fig fox gas "
    "gem hat hen ice ink jam jar job key kit law leg lid lip log map mud net nut oak oil owl pan "
    "pea pen pie pig pin pot rat ray row rug sea sky son sun tax tea tie toe toy van war wax web "
    "zoo area army baby back ball band bank barn bath bean bear bell belt bird boat body bone book "
    "boot bowl cake camp card cave city clay club coal coat corn crow dawn deer desk door drum "
    "duck dust face farm film fire fish flag food foot fork frog game gate gift girl goat gold "
    "hand harp hill home horn idea iron king kite lake lamb lamp leaf lion lock milk mint moon "
    "moss nail nest news nose note oven page palm park path pear pond rain ring road rock roof "
    "room rope rose sail salt sand seed shoe silk snow soap sock song soup star tail tent tree "
    "wall wave wind wing wolf wood wool yard"
)
LONG_WORDS = _split(
    "acorn actor alarm angel apple arrow badge baker beach berry blade bread brick brush cabin "
    "camel candy chain chair chalk chest cliff clock cloud coast coral crane cream crown curve "
    "dance dream dress eagle earth fence field flame flour fruit ghost giant glass glove grape "
    "grass heart honey horse hotel house jelly jewel juice knife lemon light lunch magic maple "
    "medal metal money month mouse mouth music night novel nurse ocean olive onion paint panda "
    "paper party peach pearl piano pilot plant plate queen radio river robot salad shark sheep "
    "shelf shirt skirt smile snake spoon stone storm sugar table tiger toast tooth torch towel "
    "tower train truck uncle voice wagon watch water whale wheat wheel anchor animal autumn "
    "banana basket bridge bucket butter button camera candle canvas carpet castle cheese cherry "
    "circle coffee cotton desert dinner doctor dragon engine family farmer feather finger flower "
    "forest garden guitar hammer harbor helmet island jacket jungle kitten ladder lizard market "
    "mirror monkey mother needle orange palace parrot pencil pepper pillow planet pocket potato "
    "rabbit ribbon rocket saddle school shadow silver spider spring square statue street summer "
    "sunset ticket tomato tunnel turtle valley velvet violin walnut window winter wizard"
)

PLURALS = _pairs(
    "child:children foot:feet goose:geese man:men mouse:mice ox:oxen person:people "
    "tooth:teeth woman:women half:halves knife:knives leaf:leaves life:lives loaf:loaves "
    "shelf:shelves thief:thieves wife:wives wolf:wolves baby:babies berry:berries "
    "city:cities cherry:cherries country:countries family:families fly:flies lady:ladies "
    "party:parties pony:ponies puppy:puppies story:stories box:boxes brush:brushes bus:buses "
    "church:churches class:classes dish:dishes dress:dresses fox:foxes glass:glasses "
    "peach:peaches watch:watches hero:heroes potato:potatoes tomato:tomatoes apple:apples "
    "bird:birds book:books car:cars cat:cats chair:chairs cow:cows cup:cups day:days "
    "dog:dogs door:doors egg:eggs flower:flowers hand:hands hat:hats horse:horses "
    "house:houses key:keys king:kings lamp:lamps map:maps monkey:monkeys pen:pens "
    "river:rivers ship:ships song:songs star:stars table:tables toy:toys tree:trees"
)
OPPOSITES = _pairs(
    "hot:cold big:small fast:slow high:low old:young wet:dry hard:soft early:late "
    "light:dark rich:poor open:closed full:empty happy:sad strong:weak long:short "
    "good:bad clean:dirty loud:quiet near:far up:down in:out left:right day:night "
    "first:last love:hate win:lose buy:sell push:pull true:false thick:thin wide:narrow "
    "deep:shallow sweet:sour sharp:blunt cheap:dear alive:dead always:never"
)

CONVERSIONS = (
    ("minutes", "hours", 60),
    ("seconds", "minutes", 60),
    ("hours", "days", 24),
    ("days", "weeks", 7),
    ("months", "years", 12),
    ("inches", "feet", 12),
    ("feet", "yards", 3),
    ("eggs", "dozen", 12),
    ("millimetres", "centimetres", 10),
    ("centimetres", "metres", 100),
)
THOUSANDS = (("metres", "kilometres"), ("grams", "kilograms"), ("millilitres", "litres"))
SYMBOLS = ("km", "kg", "m", "g", "cm", "litres", "miles", "hours", "days")


@dataclass(frozen=True)
class Question:
    """A question, its task's label and its answer.

    Attributes:
        text: what is asked.
        task: `arithmetic`, `roman`, `words` or `units`.
        reference: the answer, a short string.
        kind: the name of the kind that made it (not in the shipped files).
        size: `small` or `large`.
    """

    text: str
    task: str
    reference: str
    kind: str
    size: Size


@dataclass(frozen=True)
class Kind:
    """One thing to do, in several phrasings.

    Attributes:
        name: unique name.
        task: the label its questions carry.
        weight: its share of the task's questions.
        make: draws the phrasing's fields and the answer, for a size.
        phrasings: format strings over those fields.
    """

    name: str
    task: str
    weight: float
    make: Callable[[random.Random, Size], tuple[Fields, str]]
    phrasings: tuple[str, ...]


def roman(number: int) -> str:
    """`number` (1 to 399) as a Roman numeral."""
    written = ""
    for value, numeral in NUMERALS:
        written += numeral * (number // value)
        number %= value
    return written


def in_words(number: int) -> str:
    """`number` (0 to 99) in English words."""
    if number < 20:
        return ONES[number]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")


def _add(rng: random.Random, size: Size) -> tuple[Fields, str]:
    low, high = (1, 12) if size == "small" else (13, 49)
    a, b = rng.randint(low, high), rng.randint(low, high)
    return {"a": str(a), "b": str(b)}, str(a + b)


def _subtract(rng: random.Random, size: Size) -> tuple[Fields, str]:
    low, high = (1, 20) if size == "small" else (21, 69)
    b, a = sorted((rng.randint(low, high), rng.randint(low, high)))
    return {"a": str(a), "b": str(b)}, str(a - b)


def _multiply(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    return {"a": str(a), "b": str(b)}, str(a * b)


def _add_words(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    a, b = rng.randint(1, 12), rng.randint(1, 12)
    return {"a": in_words(a), "b": in_words(b)}, str(a + b)


def _story(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    fields = {"name": rng.choice(NAMES), "things": rng.choice(THINGS), "a": str(a), "b": str(b)}
    return fields, str(a + b)


def _add_numerals(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    a, b = rng.randint(1, 15), rng.randint(1, 15)
    return {"a": roman(a), "b": roman(b)}, roman(a + b)


def _add_mixed(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    a, b = rng.randint(1, 15), rng.randint(1, 9)
    return {"a": roman(a), "b": str(b)}, str(a + b)


def _roman_number(rng: random.Random, size: Size) -> int:
    return rng.randint(1, 30) if size == "small" else rng.randint(31, 199)


def _to_roman(rng: random.Random, size: Size) -> tuple[Fields, str]:
    number = _roman_number(rng, size)
    return {"a": str(number)}, roman(number)


def _from_roman(rng: random.Random, size: Size) -> tuple[Fields, str]:
    number = _roman_number(rng, size)
    return {"a": roman(number)}, str(number)


def _word_to_roman(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    number = rng.randint(1, 30)
    return {"a": in_words(number)}, roman(number)


def _numeral_letters(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    numeral = roman(rng.randint(1, 200))
    return {"a": numeral}, str(len(numeral))


def _word(rng: random.Random, size: Size) -> str:
    return rng.choice(SHORT_WORDS if size == "small" else LONG_WORDS)


def _reverse(rng: random.Random, size: Size) -> tuple[Fields, str]:
    word = _word(rng, size)
    return {"a": word}, word[::-1]


def _first_letter(rng: random.Random, size: Size) -> tuple[Fields, str]:
    word = _word(rng, size)
    return {"a": word}, word[0]


def _last_letter(rng: random.Random, size: Size) -> tuple[Fields, str]:
    word = _word(rng, size)
    return {"a": word}, word[-1]


def _count_letters(rng: random.Random, size: Size) -> tuple[Fields, str]:
    word = _word(rng, size)
    return {"a": word}, str(len(word))


def _join(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    a, b = rng.sample(SHORT_WORDS, 2)
    return {"a": a, "b": b}, a + b


def _plural(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    singular = rng.choice(list(PLURALS))
    return {"a": singular}, PLURALS[singular]


def _opposite(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    word = rng.choice(list(OPPOSITES))
    return {"a": word}, OPPOSITES[word]


def _spell_number(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    number = rng.randint(1, 99)
    return {"a": str(number)}, in_words(number)


def _letters_together(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    a, b = rng.randint(3, 40), rng.randint(3, 40)
    return {"a": str(a), "b": str(b)}, str(a + b)


def _convert(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    part, whole, factor = rng.choice(CONVERSIONS)
    number = rng.randint(2, 20)
    return {"part": part, "whole": whole, "a": str(number)}, str(number * factor)


def _thousands(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    part, whole = rng.choice(THOUSANDS)
    number = rng.randint(13, 999)
    return {"part": part, "whole": whole, "a": str(number)}, f"{number}000"


def _add_quantities(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    fields, total = _add(rng, "large")
    symbol = rng.choice(SYMBOLS)
    return {"a": f"{fields['a']} {symbol}", "b": f"{fields['b']} {symbol}"}, f"{total} {symbol}"


def _convert_numeral(rng: random.Random, _size: Size) -> tuple[Fields, str]:
    part, whole, factor = rng.choice((("days", "weeks", 7), ("months", "years", 12)))
    number = rng.randint(2, 20)
    return {"part": part, "whole": whole, "a": roman(number)}, str(number * factor)


SUM_OF = (
    "What is {a} plus {b}?",
    "What is the sum of {a} and {b}?",
    "Add {a} and {b}.",
    "How much is {a} and {b} together?",
    "What do {a} and {b} make?",
)
HOW_MANY_ARE_IN = (
    "How many {part} are in {a} {whole}?",
    "How many {part} do {a} {whole} have?",
    "Convert {a} {whole} to {part}.",
    "{a} {whole} is how many {part}?",
    "What are {a} {whole} in {part}?",
)

KINDS = (
    Kind("add", "arithmetic", 0.41, _add, SUM_OF),
    Kind(
        "subtract",
        "arithmetic",
        0.36,
        _subtract,
        (
            "What is {a} minus {b}?",
            "Take {b} away from {a}.",
            "What is the difference between {a} and {b}?",
            "Subtract {b} from {a}.",
            "How much is {a} less {b}?",
        ),
    ),
    Kind(
        "multiply",
        "arithmetic",
        0.09,
        _multiply,
        (
            "What is {a} times {b}?",
            "Multiply {a} by {b}.",
            "What is the product of {a} and {b}?",
            "How much is {a} times {b}?",
        ),
    ),
    Kind("add_words", "arithmetic", 0.05, _add_words, SUM_OF),
    Kind(
        "story",
        "arithmetic",
        0.04,
        _story,
        (
            "{name} has {a} {things} and buys {b} more. How many {things} is that?",
            "{name} finds {a} {things}, then {b} more. How many {things} now?",
            "If {name} has {a} {things} and gets {b}, how many {things} are there?",
        ),
    ),
    Kind("add_numerals", "arithmetic", 0.05, _add_numerals, SUM_OF),
    Kind(
        "to_roman",
        "roman",
        0.40,
        _to_roman,
        (
            "Write {a} as a Roman numeral.",
            "What is {a} in Roman numerals?",
            "How did the Romans write {a}?",
            "Convert {a} to Roman numerals.",
            "Which Roman numeral is {a}?",
        ),
    ),
    Kind(
        "from_roman",
        "roman",
        0.38,
        _from_roman,
        (
            "What number is {a}?",
            "Which number does {a} stand for?",
            "Convert {a} to digits.",
            "How much is {a}?",
            "Write {a} in digits.",
        ),
    ),
    Kind("add_mixed", "roman", 0.10, _add_mixed, SUM_OF),
    Kind(
        "word_to_roman",
        "roman",
        0.06,
        _word_to_roman,
        (
            "Write {a} as a Roman numeral.",
            "What is {a} in Roman numerals?",
            "How did the Romans write {a}?",
            "Convert {a} to Roman numerals.",
            "Which Roman numeral is {a}?",
        ),
    ),
    Kind(
        "numeral_letters",
        "roman",
        0.06,
        _numeral_letters,
        (
            "How many letters are in {a}?",
            "Count the letters in {a}.",
            "How many letters does {a} have?",
        ),
    ),
    Kind(
        "reverse",
        "words",
        0.26,
        _reverse,
        (
            "Reverse the word {a}.",
            "Spell {a} backwards.",
            "What is {a} written backwards?",
            "Write the letters of {a} in reverse.",
        ),
    ),
    Kind(
        "first_letter",
        "words",
        0.12,
        _first_letter,
        (
            "What is the first letter of {a}?",
            "Which letter does {a} start with?",
            "Give the first letter of {a}.",
            "What does {a} begin with?",
        ),
    ),
    Kind(
        "last_letter",
        "words",
        0.14,
        _last_letter,
        (
            "What is the last letter of {a}?",
            "Which letter does {a} end with?",
            "Give the last letter of {a}.",
            "What does {a} end with?",
        ),
    ),
    Kind(
        "count_letters",
        "words",
        0.14,
        _count_letters,
        (
            "How many letters are in {a}?",
            "Count the letters in {a}.",
            "How many letters does {a} have?",
            "How long is the word {a}?",
        ),
    ),
    Kind(
        "join",
        "words",
        0.12,
        _join,
        (
            "Join {a} and {b}.",
            "Put {a} and {b} together.",
            "What do {a} and {b} make as one word?",
            "Write {a} and {b} as one word.",
        ),
    ),
    Kind(
        "plural",
        "words",
        0.08,
        _plural,
        (
            "What is the plural of {a}?",
            "One {a}, two what?",
            "How do you write more than one {a}?",
            "Give the plural of {a}.",
        ),
    ),
    Kind(
        "opposite",
        "words",
        0.04,
        _opposite,
        (
            "What is the opposite of {a}?",
            "Give the opposite of {a}.",
            "Which word means the opposite of {a}?",
            "What is not {a}?",
        ),
    ),
    Kind(
        "spell_number",
        "words",
        0.05,
        _spell_number,
        (
            "Write {a} as a word.",
            "How do you spell the number {a}?",
            "What is {a} in words?",
        ),
    ),
    Kind(
        "letters_together",
        "words",
        0.05,
        _letters_together,
        (
            "How many letters are {a} letters and {b} letters together?",
            "A text has {a} letters, then {b} more. How many letters are there?",
            "Add {b} letters to {a} letters. How many letters is that?",
        ),
    ),
    Kind("convert", "units", 0.72, _convert, HOW_MANY_ARE_IN),
    Kind("thousands", "units", 0.12, _thousands, HOW_MANY_ARE_IN),
    Kind("add_quantities", "units", 0.10, _add_quantities, SUM_OF),
    Kind("convert_numeral", "units", 0.06, _convert_numeral, HOW_MANY_ARE_IN),
)
TASKS = ("arithmetic", "roman", "words", "units")


def draw(kind: Kind, *, rng: random.Random, size: Size, plain: bool = False) -> Question:
    """One question of a kind and size; `plain`: its shortest phrasing, without an opening."""
    fields, reference = kind.make(rng, size)
    if plain:
        text = min(kind.phrasings, key=len).format(**fields)
    else:
        text = rng.choice(kind.phrasings).format(**fields)
        text = rng.choice(PREFIXES) + text
    return Question(text, kind.task, reference, kind.name, size)


def stream(rng: random.Random) -> Iterator[Question]:
    """Endless questions: tasks equally often, kinds by weight, 60 % of them large."""
    by_task = {task: [kind for kind in KINDS if kind.task == task] for task in TASKS}
    while True:
        kinds = by_task[rng.choice(TASKS)]
        kind = rng.choices(kinds, [kind.weight for kind in kinds])[0]
        size: Size = "large" if rng.random() < LARGE_SHARE else "small"
        yield draw(kind, rng=rng, size=size)


def distinct(questions: Iterable[Question], *, without: Collection[str] = ()) -> Iterator[Question]:
    """Every question whose text was not seen before and is not in `without`."""
    seen = set(without)
    for question in questions:
        if question.text not in seen:
            seen.add(question.text)
            yield question


def shipped_questions(*, seed: int = SEED) -> tuple[list[Question], list[Question]]:
    """The questions to collect outcomes on, and the ones to route: disjoint and distinct."""
    fresh = distinct(stream(random.Random(seed)))
    return list(islice(fresh, COLLECT_QUERIES)), list(islice(fresh, ROUTE_QUERIES))


def json_lines(questions: Sequence[Question], *, ids: str | None = None) -> str:
    """JSONL rows `text`, `task`, `reference`; with `ids`, an `id` of that prefix in front."""
    rows = []
    for number, question in enumerate(questions):
        row = {key: asdict(question)[key] for key in ("text", "task", "reference")}
        rows.append(row if ids is None else {"id": f"{ids}{number:05d}", **row})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_shipped(folder: Path) -> None:
    """Write `collect.jsonl` and `route.jsonl.gz`; the same bytes every time (gzip mtime 0)."""
    collect, route = shipped_questions()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "collect.jsonl").write_text(json_lines(collect), encoding="utf-8")
    packed = gzip.compress(json_lines(route, ids="q").encode("utf-8"), mtime=0)
    (folder / "route.jsonl.gz").write_bytes(packed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the shipped files, or print fresh questions as JSONL."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the two files go")
    parser.add_argument("--print", type=int, metavar="N", help="print N fresh questions instead")
    parser.add_argument("--seed", type=int, default=SEED + 1, help="seed of --print")
    options = parser.parse_args(arguments)
    if options.print:
        fresh = distinct(stream(random.Random(options.seed)))
        print(json_lines(list(islice(fresh, options.print))), end="")
    else:
        write_shipped(options.folder)


if __name__ == "__main__":
    main()
