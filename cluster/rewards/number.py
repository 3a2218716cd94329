"""Reading the number an answer arrives at.

What counts as a number:

- One whole token: sign, currency, digits with their separators, decimals, exponent. "$20.00" is
  20, "1,234" is 1234, "in 2024, 15 apples" ends in 15. Digits of any script.
- Thousands are parted by `,` `'` `_`, no-break or thin spaces, LaTeX's `{,}` or `\\,`, in groups of
  three (or as in 12,34,567). The point is the decimal sign, save where grouping leaves no doubt:
  "1.234,50", "1 234,50", "1.234.567". So "1.234" is near one, "3,14" is two numbers, and an
  ordinary blank parts numbers, for lists look the same.
- "3/4", "\\frac{3}{4}", "½" and "1 3/4" are fractions; 3/4/2024 is not.
- "1.5e-3", "1.5 × 10^-3" and "10⁵" are powers of ten. Other powers (2^10), exponents and indices
  (the 2 of m^2, m², x_2) and digits behind a letter (H2O) are not numbers.
- A hyphen is a sign only where no letter, digit or closing bracket stands before it: "5-10" is two
  numbers. The typographic minus and the en dash count as hyphens.
- Units are passed over, words are not read: "5 million" is 5.
"""

import re
import unicodedata
from collections.abc import Iterator
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import NamedTuple

from cluster.rewards.box import last_box

# No traps and the widest exponents: a hostile "1e999999999" is unequal instead of an exception.
ARITHMETIC = Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])

# Linear on an answer of megabytes: a repetition that may fail behind its run is bounded ({1,8}
# groups), one without a bound always ends in a match that consumes it; hence also `power`, which
# is matched and then refused, where a negative lookahead would start over at every digit.
THIN = "\u2009"
EUROPEAN = rf"[0-9]{{1,3}}(?:(?:\.[0-9]{{3}}){{1,8}}|(?:[ {THIN}][0-9]{{3}}){{1,8}}),[0-9]{{1,2}}"
DOTTED = r"[0-9]{1,3}(?:\.[0-9]{3}){2,8}"
INDIAN = r"[0-9]{1,2}(?:,[0-9]{2}){1,8},[0-9]{3}"
GROUPED = rf"[0-9]{{1,3}}(?:(?:,[0-9]{{3}})+|(?:'[0-9]{{3}})+|(?:[_{THIN}][0-9]{{3}})+)"
PLAIN = r"[0-9]+(?:\.[0-9]+)?|(?<![A-Za-z0-9.])\.[0-9]+"
POINT_IS_A_GROUP = re.compile(rf"{EUROPEAN}|{DOTTED}")
CORE = rf"(?>(?:{EUROPEAN}|{DOTTED})(?![0-9])|(?:{INDIAN}|{GROUPED})(?![0-9])(?:\.[0-9]+)?|{PLAIN})"
POWER_OF_TEN = r"10(?:\^|\*\*)\{{?(?P<{name}>[-+]?[0-9]{{1,9}})(?![0-9])\}}?"
NUMBER = re.compile(
    rf"""
    (?=[-+$€£¥₹ ]{{0,5}}\.?[0-9])
    (?:(?<![A-Za-z0-9_)\]}}])(?P<sign>[-+]?(?:[$€£¥₹][ ]?[-+]?)?))?
    (?<![A-Za-z0-9_^])(?<![\^_]\{{)(?<!\^[-+])(?<!\^\{{[-+])     # no index, no exponent
    (?:
      (?<!/)(?:(?P<whole>[0-9]{{1,3}})[ ])?
        (?P<numerator>{CORE})[ ]?/[ ]?(?P<denominator>{CORE})(?![ ]?/[ ]?[0-9])
    | {POWER_OF_TEN.format(name="ten")}
    | (?P<decimal>{CORE})
      (?: [eE](?P<exponent>[-+]?[0-9]{{1,9}})(?![0-9])
        | [ ]?(?:[×x*·⋅]|\\times|\\cdot)[ ]?{POWER_OF_TEN.format(name="times_ten")} )?
    )
    (?P<power>\^\{{?[^\\{{]|\*\*[0-9])?
    (?P<percent>[ ]?\\?%|[ ]per[ ]?cent\b)?
    """,
    re.VERBOSE,
)

CHARACTERS = str.maketrans(
    {"−": "-", "–": "-", "﹣": "-", "－": "-", "⁄": "/", "∕": "/", "／": "/", "’": "'"}
    | {"．": ".", "，": ",", "％": "%", "﹪": "%", "＄": "$", "￥": "¥", "：": ":", "＝": "="}
    | {"\u00a0": THIN, "\u202f": THIN}
)
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
LATEX_PART = r"[ ]?(?:\{[ ]?(-?[0-9][0-9.,]*)[ ]?\}|([0-9]))"
LATEX_FRACTION = re.compile(rf"\\[dtc]?frac{LATEX_PART}{LATEX_PART}")
HASHES = re.compile(r"(?<!#)####(?!#)[ \t*]*([^\n]*)")
HEADING = re.compile(r"[.):][ ]*[^\s*]")
ANSWER = re.compile(r"\banswers?\b[^\n.:=]{0,40}?(?:\bis\b|\bare\b|[:=])\s*", re.IGNORECASE)
OPERATORS = frozenset("-+*/×÷·=")
CALCULATION = re.compile(r"[\s()$%\\*+\-/×÷·=]+")


class Number(NamedTuple):
    """A number as it was written.

    Attributes:
        value: what stands before the percent sign; a fraction to 50 digits.
        percent: whether a percent sign follows.
    """

    value: Decimal
    percent: bool


def extract_number(text: str) -> Decimal | None:
    """The value of the number an answer arrives at, None if it holds none; "50%" is 50."""
    number = read_number(text)
    return None if number is None else number.value


def read_number(text: str) -> Number | None:
    """The number an answer arrives at.

    Looked for in the last `\\boxed{…}`, then behind the last `####` that a number follows, then
    behind the last "answer is" or "answer:" with a number on its line, else the text's last one.
    A calculation there counts as its result: "answer: 5 * 8 = 40 apples" is 40.
    """
    cleaned = _clean(text)
    found = _in_box(cleaned) or _after_hashes(cleaned) or _after_answer(cleaned) or _last(cleaned)
    return None if found is None else Number(_value(found), found["percent"] is not None)


def _clean(text: str) -> str:
    """One kind of digit, minus, fraction and blank; LaTeX's spacing gone."""
    if not text.isascii():
        text = _to_ascii(text)
    text = text.replace("\\!", "").replace("\\$", "$").replace("{,}", ",")
    text = re.sub(r"(?<=[0-9])\\[, ](?=[0-9]{3}(?![0-9]))", THIN, text)
    text = re.sub(r"(?<=[={])[ ]?-[ ](?=[0-9.$])", " -", text)
    return LATEX_FRACTION.sub(_slashed, text)


def _to_ascii(text: str) -> str:
    text = re.sub("[¼-¾⅐-⅞]", lambda m: _apart(m) + unicodedata.normalize("NFKC", m[0]), text)
    text = re.sub("[⁰¹²³⁴-⁹⁻⁺]+", lambda m: f"^{{{m[0].translate(SUPERSCRIPTS)}}}", text)
    text = re.sub(r"(?![0-9])\d", lambda m: str(unicodedata.decimal(m[0])), text)
    return text.translate(CHARACTERS)


def _slashed(fraction: re.Match[str]) -> str:
    numerator, denominator = (fraction[1] or fraction[2]), (fraction[3] or fraction[4])
    return f"{_apart(fraction)}{numerator}/{denominator}"


def _apart(match: re.Match[str]) -> str:
    """A blank where a digit comes right before: 1½ is 1 1/2, not 11/2."""
    start = match.start()
    return " " if start and match.string[start - 1].isdecimal() else ""


def _numbers(text: str) -> Iterator[re.Match[str]]:
    """The tokens of a text that have a value: no powers, nothing over zero."""
    for token in NUMBER.finditer(text):
        over_zero = token["denominator"] and not token["denominator"].strip("0.,'_ \u2009")
        if token["power"] is None and not over_zero:
            yield token


def _result(text: str) -> re.Match[str] | None:
    """The first number, or if a calculation begins there, the one it ends in."""
    result: re.Match[str] | None = None
    for token in _numbers(text):
        if result is not None and not _is_calculation(text[result.end() : token.start()]):
            break
        result = token
    return result


def _is_calculation(between: str) -> bool:
    """Whether what stands between two numbers joins them; a remark in brackets does not."""
    joint = between.replace("**", "")
    if joint.lstrip(" $").startswith("(") or OPERATORS.isdisjoint(joint):
        return False
    return CALCULATION.fullmatch(joint) is not None


def _in_box(text: str) -> re.Match[str] | None:
    box = last_box(text)
    return None if box is None else _result(box)


def _after_hashes(text: str) -> re.Match[str] | None:
    """A number right behind `####`; "#### 2. Add them" is a heading."""
    for line in reversed([found[1] for found in HASHES.finditer(text)]):
        first = next(_numbers(line), None)
        if first is not None and first.start() == 0 and not HEADING.match(line, first.end()):
            return _result(line)
    return None


def _after_answer(text: str) -> re.Match[str] | None:
    """A number on the line behind "answer is"; each marker's part ends where the next begins."""
    end = len(text)
    for marker in reversed(list(ANSWER.finditer(text))):
        result = _result(text[marker.end() : end].split("\n", 1)[0])
        if result is not None:
            return result
        end = marker.start()
    return None


def _last(text: str) -> re.Match[str] | None:
    last: re.Match[str] | None = None
    for token in _numbers(text):
        last = token
    return last


def _value(token: re.Match[str]) -> Decimal:
    if token["numerator"] is not None:
        value = _fraction(token)
    elif token["ten"] is not None:
        value = Decimal(f"1e{token['ten']}")
    else:
        exponent = token["exponent"] or token["times_ten"] or "0"
        value = Decimal(f"{_digits(token['decimal'])}e{exponent}")
    return value.copy_negate() if "-" in (token["sign"] or "") else value


def _fraction(token: re.Match[str]) -> Decimal:
    """Rounded before it is divided, for division of megabytes of digits is not linear."""
    numerator = ARITHMETIC.create_decimal(_digits(token["numerator"]))
    denominator = ARITHMETIC.create_decimal(_digits(token["denominator"]))
    ratio = ARITHMETIC.divide(numerator, denominator)
    whole = Decimal(token["whole"] or "0")
    return ARITHMETIC.add(whole, ratio) if numerator < denominator else ratio


def _digits(core: str) -> str:
    """Digits and a point alone, as `Decimal` reads them."""
    if POINT_IS_A_GROUP.fullmatch(core):
        return re.sub(rf"[. {THIN}]", "", core).replace(",", ".")
    return re.sub(rf"[,'_{THIN}]", "", core)
