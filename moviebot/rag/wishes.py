"""What a request asks for: hard conditions, comparisons, moods, and the movies it holds up as good or bad.

Titles are masked first, so that *The Old Man & the Gun* asks for no old movie. Numbers, genres and people are read by
explicit grammars, each with its own file; here they are put together, and what stands behind a "no" is told from what
is wanted.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.rag.constraints import NO_CONSTRAINTS, Constraints, Person
from moviebot.rag.genre_words import GenreHit, GenreReader
from moviebot.rag.intent import MASK, mask_mentions
from moviebot.rag.people import PeopleIndex, PersonHit, find_strangers
from moviebot.rag.quantities import read_quantities
from moviebot.rag.titles import Mention
from moviebot.rag.words import fold

Comparison = Literal["newer", "older", "shorter", "longer", "better"]
Mood = Literal["lighter", "funnier", "darker", "scarier", "romantic", "livelier", "calmer"]
SEED_SCORE = 0.6  # a title this likely meant is one that the person speaks of
_ORDINAL = re.compile(r"(?:the )?(?:first|second|third|last|other|1st|2nd|3rd) (?:one|movie|film)|the one|that one")
_LISTED_SCORE = 0.5  # or this likely, in a list with one that is
_LISTED = re.compile(r"\s*(?:,|&|\+|,?\s*\b(?:and|or|plus)\b(?: also)?)\s*", re.IGNORECASE)

_COMPARISONS: Mapping[Comparison, re.Pattern[str]] = {
    "newer": re.compile(r"\b(?:newer|more recent|more modern|later)\b(?! than \d)"),
    "older": re.compile(
        r"\b(?:older|earlier|less recent)\b(?! (?:than \d|movies?\b|films?\b|people\b|brother|sister))"
    ),
    "shorter": re.compile(r"\b(?:shorter|less long|not (?:as|so|quite so) long)\b(?! than \d)"),
    "longer": re.compile(r"(?<!no )(?<!any )\blonger\b(?! than \d)"),
    "better": re.compile(r"\b(?:better|higher)[ -](?:rated|ratings?|reviewed|scores?)\b"),
}
_DARK = r"(?:dark|violent|scary|bleak|sad|heavy|serious|depressing|intense|gory|grim|brutal|gritty|creepy|disturbing)"
_LIGHT = r"(?:light|silly|funny|childish|cheesy|cute|sweet|goofy|kiddie)"
_MOODS: Mapping[Mood, re.Pattern[str]] = {
    "lighter": re.compile(
        rf"\b(?:lighter|happier|cheerful|cheerier|uplifting|feel-?good|light-?hearted|more fun|milder|gentler|"
        rf"less {_DARK}|not (?:so|as|too|that|quite so|quite as) {_DARK})\b"
    ),
    "funnier": re.compile(r"\b(?:funnier|more (?:funny|comedic|humou?r)|with more (?:jokes|laughs))\b"),
    "darker": re.compile(
        rf"\b(?:darker|grittier|bleaker|heavier|grimmer|edgier|nastier|more (?:serious|violent|intense|"
        rf"mature|adult)|less {_LIGHT})\b"
    ),
    "scarier": re.compile(r"\b(?:scarier|creepier|spookier|more (?:scary|frightening|terrifying))\b"),
    "romantic": re.compile(r"\bmore (?:romantic|romance)\b"),
    "livelier": re.compile(
        r"\b(?:more (?:action|exciting|adventurous|thrilling)|faster|livelier|less (?:slow|boring))\b"
    ),
    "calmer": re.compile(r"\b(?:calmer|slower|quieter|less (?:action|loud|fast|hectic))\b"),
}
_MOOD_GENRES: Mapping[Mood, Mapping[str, float]] = {
    "lighter": {"comedy": 1.0, "family": 0.5, "animation": 0.3, "romance": 0.3, "horror": -1.0, "thriller": -0.7,
                "war": -0.7, "crime": -0.5},
    "funnier": {"comedy": 1.5, "horror": -0.3},
    "darker": {"thriller": 0.7, "crime": 0.5, "horror": 0.4, "drama": 0.3, "comedy": -1.0, "family": -1.0},
    "scarier": {"horror": 1.5, "thriller": 0.5, "comedy": -0.7, "family": -0.7},
    "romantic": {"romance": 1.5},
    "livelier": {"action": 1.0, "adventure": 0.6, "thriller": 0.3},
    "calmer": {"drama": 0.7, "romance": 0.4, "action": -1.0, "thriller": -0.5},
}  # fmt: skip

_NO = (
    r"(?:\bno|(?<!why )\bnot|\bnothing|\bwithout|\bexcept(?: for)?|\banything but|\bother than|\bnone "
    r"of|\bnon|\bhated?|\bdislikes?|"
    r"\bdisliked|\bcan't stand|\bcannot stand|\bcouldn't stand|\bavoid(?:ing)?|\bskip|\b(?:tired|"
    r"sick) of|\bfed up with|\bleave out|"
    r"\bexclud(?:e|ing)|\bminus|\bnever|\bapart from|\binstead of|\brather than|\bunlike|\bbesides|"
    r"\b(?:is|are|was|were|do|does)n't|\bloathed?|"
    r"(?:n't|\bnot)(?: really| particularly| much)? (?:want|liked?|loved?|enjoy(?:ed)?|fancy|care for|"
    r"need|into|in the mood for|looking for|a fan of|"
    r"feel like)(?: to (?:see|watch))?)"
)
_SCOPE = (
    r"(?:an?|any|too|so|very|more|the|with|by|of|or|nor|and|movies?|films?|stuff|anything|something|"
    r"that is|that's|that|are|is|be|in|from|"
    r"much|really|like|starring|directed|featuring|actors?|director|to|watch|see|another|kinds? of|"
    r"sorts? of|one|i've|i|name)"
)
_NEGATED = re.compile(rf"{_NO}(?:[\s-]+|$)((?:(?:{_SCOPE}\b|[\x01\x02]+|{MASK})[\s,/-]*)*)$")
_BAD = (
    r"(?:terrible|awful|boring|bad|horrible|garbage|trash|rubbish|the worst|overrated|dull|a bore|disappointing|stupid|"
    r"a waste of time|not for me|not my thing|not good)"
)
_BAD_BEHIND = re.compile(
    rf"[\s,]*(?:was|is|were|are)(?: just| really| so| pretty| quite| too| very| absolutely)* {_BAD}\b|"
    rf"[\s,]*(?:sucks|sucked|bored me)\b"
)
_HATED = re.compile(
    r"(?:\bhated?|\bdisliked?|\bcan't stand|\bcouldn't stand|\bloathed?|\bdespised?|\bbored by|"
    r"\bdisappointed (?:by|in|with)|"
    r"\bnothing like|\bunlike|"
    r"(?:n't|\bnot|\bnever)(?: really| particularly| much)? (?:liked?|loved?|enjoy(?:ed)?|care for|"
    r"cared for|into|a (?:big )?fan of))"
    r"(?: the)?(?: movies?| films?)?$"
)
_EXCLUDED = re.compile(
    r"(?:\bbut not|\bexcept(?: for)?|\bother than|\banything but|\bbesides|\bapart from|\binstead of|"
    r"\bno|\bnot|\bwithout)(?: the)?(?: movies?| films?| another| like)?$"
)
_LIST_BEFORE = re.compile(rf"(?:{MASK}(?: \(\d{{4}}\))?|[\s,&\"'“”]|\b(?:and|or|nor)\b)+$")
_NATIONS = (
    "french|german|spanish|italian|japanese|korean|south korean|chinese|hindi|indian|russian|swedish|"
    "danish|norwegian|polish|british|"
    "english|american|mexican|brazilian|iranian|turkish|arabic|foreign|foreign-language|finnish|"
    "dutch|portuguese|irish|australian|"
    "canadian|scandinavian|european|asian|african|israeli|greek|czech|hungarian|thai|taiwanese|"
    "cantonese|mandarin|nordic|latin american"
)
_COUNTRIES = (
    "france|germany|spain|italy|japan|korea|south korea|china|india|russia|sweden|denmark|norway|"
    "poland|britain|england|the uk|the us|"
    "the usa|america|mexico|brazil|iran|turkey|finland|ireland|australia|canada|europe|asia|africa|"
    "israel|greece|hong kong|taiwan|thailand"
)
_ABROAD = re.compile(
    rf"\b({_NATIONS})(?:[ -]language)?(?= (?:[\w-]+ ){{0,3}}(?:movies?|films?|cinema|flicks?|ones?|"
    rf"comed(?:y|ies)|dramas?|thrillers?|westerns?|"
    rf"horror|romances?|documentar(?:y|ies)|director|stuff|\x01))|\b(?:something|anything) ({_NATIONS})\b|"
    rf"\bin ({_NATIONS})\b|\b(?:from|made in|produced in) ({_COUNTRIES})\b|\b(bollywood|nollywood|"
    rf"foreign|subtitled|non-english)\b"
)
_DATES = re.compile(
    r"\b(?:(?:made|released|out|(?:movies?|films?)) in|from|of|since|before|prior to|after|than|between|and|"
    r"to|until)(?: the year)? $"
)
_FOR_KIDS = re.compile(
    r"\b(?:(?:for|with) (?:my |our |the |little |small |young )*(?:kids?|children|toddlers?|"
    r"(?:\d+|five|six|seven|eight)[ -]year[ -]olds?)|(?:kid|child|family)[ -]friendly|for the whole family)\b"
)
_KIDS_GENRES = frozenset(("family", "animation"))
_STREAMED = re.compile(
    r"\bon (netflix|hulu|(?:amazon )?prime(?: video)?|disney\+?|hbo(?: max)?|apple tv|max)\b|\b(streaming)\b"
)


@dataclass(frozen=True)
class Wishes:
    """A request, read.

    Attributes:
        constraints: what every movie shown must be.
        comparisons: what it must be beside the movies that it is compared with.
        moods: what it should rather be, a matter of more or less.
        liked: catalogue rows of the movies it holds up as good.
        disliked: rows of those it calls bad.
        excluded: rows it does not want, without calling them bad.
        strangers: people it asks for whom the catalogue does not know.
        notes: what the catalogue cannot tell, a line each.
        rest: the request, masked, without the numbers that were read.
    """

    constraints: Constraints = NO_CONSTRAINTS
    comparisons: frozenset[Comparison] = frozenset()
    moods: frozenset[Mood] = frozenset()
    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()
    excluded: tuple[int, ...] = ()
    strangers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rest: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing in particular."""
        return not (self.constraints or self.comparisons or self.moods or self.liked or self.strangers or self.notes)


class WishReader:
    """Reads requests against a catalogue.

    Args:
        movies: the catalogue.
        vocabulary: words that are no misspellings.

    Example:
        >>> movies = [Movie("tt1", "Up", year=2009, genres=("Comedy",), cast=("Ed Asner",))]
        >>> WishReader(movies).read("a comedy from the nineties with Ed Asner, nothing scary").constraints.describe()
        'comedy, no horror, from the 1990s, with Ed Asner'
    """

    def __init__(self, movies: Sequence[Movie], vocabulary: Collection[str] = frozenset()) -> None:
        self.movies = movies
        known = {normalise_title(genre) for movie in movies for genre in movie.genres}
        self.genres = GenreReader(known, vocabulary)
        self.people = PeopleIndex(movies)
        years = [movie.year for movie in movies if movie.year is not None]
        # Of a large table the very newest years hold a handful of movies.
        self.newest = int(np.percentile(years, 99)) if years else None

    def select(self, text: str, mentions: Sequence[Mention]) -> list[Mention]:
        """Return the titles that a request speaks of: no genre word, and no part of a person's name."""
        named = [hit for hit in self.people.find(text, fuzzy=False) if hit.is_exact]
        chosen = []
        for mention in mentions:
            plain = fold(text[mention.start : mention.end])
            quoted = text[mention.start - 1 : mention.start] in ('"', "“", "'", "‘") if mention.start else False
            read = read_quantities(plain)
            only_number = bool(read.constraints) and not read.rest.strip() and len(plain) != 4
            number = (plain.isdigit() and len(plain) < 4) or only_number
            before = text[: mention.start].lower()
            said = re.search(r"\b(?:like|liked|love|loved|called|seen|watched|hated|named|directed)\s+$", before)
            person = any(
                hit.start <= mention.start
                and mention.end <= hit.end
                and (hit.end - hit.start > mention.end - mention.start or not said)
                for hit in named
            )
            number = number or (not said and _tells_number(text, mention))
            if _ORDINAL.fullmatch(plain) and not quoted and text[mention.start].islower():
                continue  # "why the second one?", though a film may be called so
            is_genre = self.genres.is_genre(plain) and not (said and text[mention.start].isupper())
            if quoted or not (is_genre or (number and not said) or person):
                chosen.append(mention)
        return _raise_listed(text, chosen)

    def read(self, text: str, mentions: Sequence[Mention] = ()) -> Wishes:
        """Read a request.

        Args:
            text: the person's words.
            mentions: the titles in it, from :meth:`~moviebot.rag.titles.TitleIndex.find_mentions`.
        """
        told = [mention for mention in self.select(text, mentions) if mention.score >= SEED_SCORE]
        liked, disliked, excluded = _judge(text, told)
        masked = mask_mentions(text, told, SEED_SCORE)
        years = {self.movies[row].year for mention in told for row in mention.rows[:1]}
        people = [hit for hit in self.people.find(masked) if not re.search(r"\babout\s+$", masked[: hit.start].lower())]
        strangers = find_strangers(masked, people)
        nameless = _cut_out(masked, people)
        numbers = read_quantities(nameless, frozenset(year for year in years if year is not None), self.newest)
        rest = numbers.rest
        moods = frozenset(mood for mood, pattern in _MOODS.items() if pattern.search(rest))
        comparisons = frozenset(one for one, pattern in _COMPARISONS.items() if pattern.search(rest))
        for pattern in _MOODS.values():  # "less scary" asks for no horror film
            rest = pattern.sub(lambda match: " " * len(match[0]), rest)
        wanted, any_of, unwanted = _sort_genres(rest, self.genres.find(rest))
        if _FOR_KIDS.search(rest) and not wanted & _KIDS_GENRES:
            any_of = (*any_of, _KIDS_GENRES)
        with_people, without_people = _sort_people(masked, people)
        constraints = replace(
            numbers.constraints,
            genres=wanted,
            any_genres=any_of,
            without_genres=unwanted,
            people=with_people,
            without_people=without_people,
        )
        return Wishes(
            constraints, comparisons, moods, liked, disliked, excluded, tuple(strangers), tuple(_list_notes(rest)), rest
        )


def weigh_moods(moods: Collection[Mood]) -> dict[str, float]:
    """Return what each genre is worth to a person in these moods."""
    worth: dict[str, float] = {}
    for mood in moods:
        for genre, weight in _MOOD_GENRES[mood].items():
            worth[genre] = worth.get(genre, 0.0) + weight
    return worth


def compare(comparisons: Collection[Comparison], references: Sequence[Movie]) -> Constraints:
    """Return what a movie must be to stand so beside all of the others.

    Example:
        >>> compare({"newer"}, [Movie("tt1", "Up", year=2009), Movie("tt2", "Heat", year=1995)]).describe()
        'from 2010 on'
    """
    years = [movie.year for movie in references if movie.year is not None]
    minutes = [movie.runtime_minutes for movie in references if movie.runtime_minutes is not None]
    ratings = [movie.rating for movie in references if movie.rating is not None]
    return Constraints(
        year_from=max(years) + 1 if years and "newer" in comparisons else None,
        year_to=min(years) - 1 if years and "older" in comparisons else None,
        runtime_at_most=min(minutes) - 1 if minutes and "shorter" in comparisons else None,
        runtime_at_least=max(minutes) + 1 if minutes and "longer" in comparisons else None,
        rating_at_least=round(max(ratings) + 0.1, 3) if ratings and "better" in comparisons else None,
    )


def _tells_number(text: str, mention: Mention) -> bool:
    """Say whether a title is but the year or the unit of a number told: 2010 in "made in 2010", Hours in "2 hours"."""
    word, before = text[mention.start : mention.end], text[: mention.start].lower()
    if " " in word or (word[0].isupper() and not before.rstrip()[-1:].isdigit()):
        return False
    if word.isdigit() and not _DATES.search(before):
        return False
    masked = mask_mentions(text, [mention], 0.0)
    return read_quantities(text).constraints != read_quantities(masked).constraints


def _raise_listed(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """Take a doubtful title for one that is meant where it stands in a list with a sure one: "Alien and The Thing"."""
    raised = sorted(mentions, key=lambda mention: mention.start)
    for _ in mentions:  # along the list
        for place, (one, other) in enumerate(list(pairwise(raised))):
            doubtful, sure = sorted((one.score, other.score))
            if _LISTED_SCORE <= doubtful < SEED_SCORE <= sure and _LISTED.fullmatch(text[one.end : other.start]):
                pair = [replace(mention, score=max(mention.score, SEED_SCORE)) for mention in (one, other)]
                raised[place : place + 2] = pair
    known = {mention.start: mention for mention in raised}
    return [known[mention.start] for mention in mentions]


def _judge(text: str, mentions: Sequence[Mention]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Sort the movies named into liked, disliked and excluded."""
    liked: list[int] = []
    disliked: list[int] = []
    excluded: list[int] = []
    for mention in sorted(mentions, key=lambda mention: -mention.score):
        before = [other for other in mentions if other.end <= mention.start]
        behind = [
            replace(other, start=other.start - mention.end, end=other.end - mention.end)
            for other in mentions
            if other.start >= mention.end
        ]
        head = _LIST_BEFORE.sub("", mask_mentions(text[: mention.start], before, 0.0).lower().replace("’", "'"))
        tail = mask_mentions(text[mention.end :], behind, 0.0).lower().replace("’", "'")
        tail = re.sub(rf"^(?:{MASK}| \(\d{{4}}\)|[\s,&]|\b(?:and|or)\b)+(?=(?:was|is|were|are|suck))", " ", tail)
        if _HATED.search(head) or _BAD_BEHIND.match(tail):
            disliked.append(mention.rows[0])
        elif _EXCLUDED.search(head):
            excluded.append(mention.rows[0])
        else:
            liked.append(mention.rows[0])
    return tuple(dict.fromkeys(liked)), tuple(dict.fromkeys(disliked)), tuple(dict.fromkeys(excluded))


def _is_negated(text: str, start: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Say whether what begins at ``start`` stands behind a "no" that reaches so far.

    Args:
        text: in small letters.
        start: where it begins.
        spans: other hits, over which a "no" reaches: "no horror or war".
    """
    for low, high in spans:
        text = text[:low] + "\x01" * (high - low) + text[high:]
    found = _NEGATED.search(text[:start].replace("’", "'"))
    if found is None:
        return False
    between = found[1]
    if text[: found.start(1)].endswith("-") and between.strip():
        return False  # "non-animated family films"
    if re.search(r"\band an?\b", between):
        return False
    # "no horror, a comedy" stops at the comma, "no horror, war or westerns" does not.
    return "," not in between or re.search(r"\b(?:n?or)\b", text[found.start(1) : start + 60]) is not None


def _sort_genres(
    text: str, hits: Sequence[GenreHit]
) -> tuple[frozenset[str], tuple[frozenset[str], ...], frozenset[str]]:
    spans = [(hit.start, hit.end) for hit in hits]
    unwanted: set[str] = set()
    groups: list[set[str]] = []
    before: GenreHit | None = None
    for hit in hits:
        if _is_negated(text, hit.start, spans):
            unwanted |= hit.genres
            before = None
            continue
        between = text[before.end : hit.start] if before is not None else ""
        either = (
            re.fullmatch(r"\s*(?:movies?|films?)?\s*,?\s*(?:/|\bor\b)\s*(?:an?|some|maybe)?\s*", between) is not None
        )
        both_plural = before is not None and before.is_plural and hit.is_plural
        listed = re.fullmatch(r"\s*(?:,|,?\s*and|&)\s*", between) is not None
        if before is not None and (either or (both_plural and listed)):
            groups[-1] |= hit.genres
        elif len(hit.genres) > 1:
            groups += [{genre} for genre in hit.genres]
        else:
            groups.append(set(hit.genres))
        before = hit
    wanted = frozenset(next(iter(group)) for group in groups if len(group) == 1)
    any_of = tuple(dict.fromkeys(frozenset(group) for group in groups if len(group) > 1 and not group & wanted))
    return wanted, any_of, frozenset(unwanted) - wanted.union(*any_of)


def _sort_people(text: str, hits: Sequence[PersonHit]) -> tuple[tuple[frozenset[Person], ...], frozenset[Person]]:
    lower = text.lower()
    spans = [(hit.start, hit.end) for hit in hits]
    groups: list[set[Person]] = []
    unwanted: set[Person] = set()
    before: PersonHit | None = None
    for hit in hits:
        if _is_negated(lower, hit.start, spans):
            unwanted.add(hit.person._replace(role="any"))
            before = None
            continue
        between = lower[before.end : hit.start] if before is not None else ""
        if before is not None and re.fullmatch(r"\s*,?\s*(?:/|\bor\b)\s*(?:with|by)?\s*", between):
            groups[-1].add(hit.person)
        else:
            groups.append({hit.person})
        before = hit
    return tuple(dict.fromkeys(frozenset(group) for group in groups)), frozenset(unwanted)


def _cut_out(text: str, hits: Sequence[PersonHit]) -> str:
    """Put a mark in the place of names, so that Jack Black and Drew Barrymore ask for no more than themselves."""
    for hit in hits:
        text = text[: hit.start] + "\x02" * (hit.end - hit.start) + text[hit.end :]
    return text


def _list_notes(text: str) -> list[str]:
    notes = []
    if found := _ABROAD.search(text):
        said = next(group for group in found.groups() if group)
        notes.append(
            "My catalogue doesn't say in which language or country a movie was made, so I could not go by "
            f'"{clean_text(said)}".'
        )
    if _STREAMED.search(text):
        notes.append("My catalogue doesn't say where a movie can be streamed.")
    return notes
