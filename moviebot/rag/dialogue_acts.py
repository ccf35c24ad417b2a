"""What a turn does to the conversation, beyond asking or wishing: "seen it", "why that one?", "the second one".

These are short, closed sets of wordings, read by explicit patterns and only where the conversation has something that
they can refer to. Everything else is left to the classifier of intents.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from moviebot.data.schemas import Movie
from moviebot.rag.intent import MASK
from moviebot.rag.words import fold

Kind = Literal["restart", "why", "seen", "reject", "more", "like", "dislike", "yes", "no", "drop"]

_ORDINALS = {
    "first": 0,
    "1st": 0,
    "second": 1,
    "2nd": 1,
    "third": 2,
    "3rd": 2,
    "fourth": 3,
    "4th": 3,
    "former": 0,
    "middle": 1,
}
_NUMBERS = {"one": 0, "1": 0, "two": 1, "2": 1, "three": 2, "3": 2}
_ORDINAL = re.compile(
    r"\b(first|1st|second|2nd|third|3rd|fourth|4th|last|latter|former|middle)\b(?: (two|2|three|3))?"
    r"(?! (?:time|world|half|act|scene|name|day|part|season|night|year|of all|things?|impression|"
    r"person|actor|week|weekend|few|month))"
)
_NUMBERED = re.compile(r"(?:\b(?:number|no\.?|nr\.?|option|choice)\s*|#)(one|two|three|[1-3])\b")
_ALL = re.compile(r"\b(?:all (?:of )?(?:them|those|these|three|3|that)|all three|every one|both|all)\b")
_THEM = (
    r"(?:it|that(?: one)?|this(?: one)?|them|those|these|all(?: of (?:them|those|these))?|both(?: of "
    r"them)?|all three|every one of (?:them|those)|the (?:first|second|third|1st|2nd|3rd|last|other|former|latter|"
    r"middle)\b[\w ,]*|number \w+|that (?:movie|film)|(?:those|these) \w+)\b"
)
_END = r"\s*(?:already|too|before|yet|now|please|though|ages ago|many times|twice|,? thanks?)*\s*[.!?]*"

_RESTART = re.compile(
    r"(?:ok(?:ay)?,? |no,? |please,? |let's |can we |could we )*(?:forget (?:it|that|about (?:it|"
    r"that)|everything|all (?:of )?that|what i said)|never ?mind(?: that| it)?|"
    r"start (?:over|again|afresh|anew|from scratch)|reset|new (?:topic|search|conversation|subject)|"
    r"scrap (?:that|it)|clear (?:that|everything|it)|"
    r"begin again|from the (?:top|beginning))(?: then| please|,? let's start (?:over|again))?\s*(?:[.,!;:-]+\s*|$)",
)
_WHY = re.compile(
    rf"(?:and |but |so |ok(?:ay)?,? |hm+,? )*(?:why(?: (?:did you|do you|would you|would i|should i|"
    rf"are you|on earth))?(?: (?:pick(?:ed|ing)?|choose|chose|chosen|suggest(?:ed|ing)?|"
    rf"recommend(?:ed|ing)?|like|watch|see|think i(?:'d| would) like))?\s*(?:{_THEM}|{MASK}|me)?(?: to "
    rf"me| for me)?(?: in particular)?|"
    rf"what makes you (?:think|recommend|suggest|say).*|how come(?: {_THEM}| {MASK})?|what(?:'s| is) the reason.*|"
    rf"for what reason.*|explain (?:{_THEM}|your (?:choice|pick)s?|{MASK}))\s*[?.!]*"
)
_SEEN = re.compile(
    rf"(?:no,? |yes,? |oh,? |but |sorry,? |well,? |hm+,? )*(?:i(?:'ve| have)? |we(?:'ve| have)? "
    rf")?(?:already |just |actually |also )?"
    rf"(?:seen|watched|saw|know)\s+(?:already )?(?P<what>{_THEM}|{MASK}(?:(?:,| and|, and) {MASK})*){_END}(?P<rest>.*)",
    re.DOTALL,
)
_REJECT = re.compile(
    rf"(?:no,? |nah,? |hm+,? |sorry,? |but )*(?:not (?:{_THEM}|{MASK}|any of (?:those|these|them))|"
    rf"none of (?:those|these|them)|neither(?: of (?:them|those|these))?|"
    rf"(?:i )?(?:do not|don't|didn't) (?:want|like|fancy|feel like)(?: to (?:see|watch))? (?:{_THEM}|"
    rf"any of (?:those|these|them))|"
    rf"(?:i'm )?not interested(?: in {_THEM})?|something else|anything else|skip (?:{_THEM}|"
    rf"{MASK}))(?: please| then)?\s*(?:[.,!?;]|$)\s*(?P<rest>.*)",
    re.DOTALL,
)
_MORE = re.compile(
    r"(?:ok(?:ay)?,? |yes,? |and |please,? |great,? |cool,? |thanks,? |hm+,? |no,? )*(?:(?:can|could|"
    r"would) (?:you|i) )?(?:please )?(?:give me |show me |get me |tell me |have |do you have |got |i "
    r"want |i'd like |"
    r"suggest |recommend |see |list )?(?:any |some |a few |one |two |three |the )?(?:more|others?|"
    r"another(?: one| movie| film| suggestion)?|something else|anything else|what else|next(?: one)?|"
    r"again|"
    r"other (?:ones|suggestions|options|ideas|movies|films)|different ones?|keep going|go on|"
    r"continue)(?: (?:suggestions?|options|ideas|movies?|films?|of (?:those|these|them)|like (?:that|"
    r"this|those|these|it|them)|do you have|have you got|is there|are there))*"
    r"(?: please| then)?\s*[?.!]*"
)
_LIKED = re.compile(
    rf"(?:yes,? |yeah,? |oh,? )*(?:i |we )?(?:really |absolutely |just )?(?:loved?|liked?|enjoyed|"
    rf"adored?) (?P<what>{_THEM}){_END}|"
    rf"(?P<which>{_THEM}) (?:was|is|were|are) (?:really |so |very )?(?:great|good|"
    rf"amazing|fantastic|perfect|brilliant|excellent|wonderful|lovely|awesome)\s*[.!]*"
)
_DISLIKED = re.compile(
    rf"(?:no,? |oh,? |yes,? |well,? )*(?:i |we )?(?:really |absolutely |just )?(?:hated|disliked|can't "
    rf"stand|couldn't stand|loathed|did not (?:like|enjoy|love)|didn't (?:really )?(?:like|enjoy|love|"
    rf"care for)) (?P<what>{_THEM}){_END}(?P<rest>.*)|"
    rf"(?P<which>{_THEM}) (?:was|is|were|are) (?:really |so |very |just )?(?:terrible|awful|boring|bad|"
    rf"horrible|rubbish|dull|overrated)\s*[.!]*",
    re.DOTALL,
)
_YES = re.compile(
    r"(?:yes|yeah|yep|yup|sure|ok(?:ay)?|right|correct|exactly|please do|do that|go ahead|that one|"
    r"that's (?:it|right|the one)|the very one|indeed|of course)(?:[ ,]+(?:please|that one|that's it|"
    r"do that|go ahead|thanks?|sure|it is))*\s*[.!]*"
)
_NO = re.compile(
    r"(?:no|nope|nah|neither|none|none of (?:them|those|these)|not (?:those|these|that|any)|no,? "
    r"(?:neither|none of (?:them|those|these)|thanks?|thank you))(?: of them)?\s*[.!]*"
)
_LONGEST = 200  # characters of a turn that may be an act: a longer one tells a story
_FACTS = {
    "year": r"years?|decades?|age|dates?|period", "genre": r"genres?",
    "length": r"length|runtime|running time|duration",
    "rating": r"ratings?|scores?", "people": r"actors?|actress|directors?|cast|person|people",
    "origin": r"countr(?:y|ies)|languages?|nationality",
}  # fmt: skip
_DROP = re.compile(
    rf"(?:any (?P<any>{'|'.join(_FACTS.values())}) (?:is fine|will do|works|would do)|(?:forget|drop|"
    rf"ignore|never mind|leave out|without|regardless of|whatever|i don't care about|don't mind|relax) "
    rf"the "
    rf"(?P<drop>{'|'.join(_FACTS.values())})|the (?P<moot>{'|'.join(_FACTS.values())}) (?:doesn't|does not) matter)"
)


@dataclass(frozen=True)
class Act:
    """What a turn does.

    Attributes:
        kind: which act.
        places: which of the movies listed it speaks of, by place; empty for all or for the one spoken of.
        names_title: it names its movie by title.
        rest: what is said beside it.
        fact: for "drop", which fact no longer matters.
    """

    kind: Kind
    places: tuple[int, ...] = ()
    names_title: bool = False
    rest: str = ""
    fact: str = ""


def read_act(masked: str, listed: int = 0) -> Act | None:
    """Return what a turn does to the conversation, or None where it just asks or wishes.

    Args:
        masked: the person's words, titles in it masked.
        listed: how many movies the bot showed last.

    Example:
        >>> read_act("I've seen the first two", 3)
        Act(kind='seen', places=(0, 1), names_title=False, rest='', fact='')
        >>> read_act("why that one?", 3).kind, read_act("something from the nineties", 3)
        ('why', None)
    """
    text = plain(masked)
    if match := _RESTART.match(text):
        return Act("restart", rest=masked.strip()[match.end() :])
    if found := _DROP.search(text):
        said = next(group for group in found.group("any", "drop", "moot") if group)
        return Act("drop", fact=next(fact for fact, words in _FACTS.items() if re.fullmatch(words, said)))
    if (not listed and MASK not in text) or len(text) > _LONGEST:
        return None
    kinds: tuple[tuple[Kind, re.Pattern[str]], ...] = (
        ("why", _WHY), ("seen", _SEEN), ("dislike", _DISLIKED), ("reject", _REJECT), ("like", _LIKED), ("more", _MORE),
    )  # fmt: skip
    for kind, pattern in kinds:
        if match := pattern.fullmatch(text):
            rest = (match.groupdict().get("rest") or "").strip()
            spoken = text[: match.start("rest")] if rest else text
            if MASK in spoken and kind == "seen" and "already" not in spoken and not listed:
                return None  # "I just watched Heat" asks for more like it
            return Act(kind, find_places(spoken, listed), MASK in spoken, rest)
    return None


def is_yes(text: str) -> bool:
    """Say whether a turn is a plain yes."""
    return _YES.fullmatch(plain(text)) is not None


def is_no(text: str) -> bool:
    """Say whether a turn is a plain no."""
    return _NO.fullmatch(plain(text)) is not None


def find_places(text: str, listed: int) -> tuple[int, ...]:
    """Return which of the movies listed are spoken of by their place.

    Example:
        >>> find_places("how long is the third?", 3), find_places("the last two", 3), find_places("all of them", 2)
        ((2,), (1, 2), (0, 1))
    """
    text = plain(text)
    places: list[int] = []
    for match in _ORDINAL.finditer(text):
        if match[1] in ("last", "latter"):
            count = _NUMBERS.get(match[2] or "one", 0) + 1
            places += range(max(0, listed - count), listed)
        elif match[2]:
            places += range(_NUMBERS[match[2]] + 1)
        else:
            places.append(_ORDINALS[match[1]])
    places += [_NUMBERS[match[1]] for match in _NUMBERED.finditer(text)]
    if not places and _ALL.search(text):
        places = list(range(listed))
    return tuple(place for place in dict.fromkeys(places) if place < listed)


def pick_choice(text: str, choices: Sequence[Movie]) -> int | None:
    """Return which of the movies asked about an answer means, by its place, or None.

    Example:
        >>> remakes = [Movie("tt1", "Carrie", year=1976), Movie("tt2", "Carrie", year=2013)]
        >>> [pick_choice(text, remakes) for text in ("the second one", "the 1976 one", "the newer", "hello")]
        [1, 0, 1, None]
    """
    said = plain(text)
    if len(said.split()) > 12 or not choices:
        return None
    years = {int(year) for year in re.findall(r"(?<!\d)(?:18|19|20)\d\d(?!\d)", said)}
    by_year = [place for place, movie in enumerate(choices) if movie.year in years]
    if len(by_year) == 1:
        return by_year[0]
    if short := re.search(r"'(\d\d)\b", said):
        ending = [place for place, movie in enumerate(choices) if str(movie.year)[-2:] == short[1]]
        if len(ending) == 1:
            return ending[0]
    if re.search(r"\b(?:original|older|oldest|old one|earlier|earliest)\b", said):
        return min(range(len(choices)), key=lambda place: choices[place].year or 9999)
    if re.search(r"\b(?:newer|newest|new one|remake|recent|latest|later)\b", said):
        return max(range(len(choices)), key=lambda place: choices[place].year or 0)
    if len(places := find_places(said, len(choices))) == 1:
        return places[0]
    if re.fullmatch(r"[1-3][.)]?", said) and int(said[0]) <= len(choices):
        return int(said[0]) - 1
    words = f" {fold(text)} "
    named = [place for place, movie in enumerate(choices) if f" {fold(movie.title)} " in words]
    titles = {fold(choices[place].title) for place in named}
    if named and len(named) < len(choices) and (len(named) == 1 or len(titles) > 1):
        return max(named, key=lambda place: len(choices[place].title))
    by_people = [
        place
        for place, movie in enumerate(choices)
        if any(
            f" {part} " in words
            for name in (*movie.directors, *movie.cast)
            for part in (fold(name), fold(name).split()[-1])
        )
    ]
    if len(by_people) == 1:
        return by_people[0]
    return 0 if is_yes(text) else None


def plain(text: str) -> str:
    """Return a turn in small letters with straight quotes and single spaces."""
    return " ".join(re.sub(r"[’‘`´]", "'", text.lower()).split())
