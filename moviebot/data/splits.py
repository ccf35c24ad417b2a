"""Which movies train, which validate, which test.

A split belongs to a movie, not to a row: whatever is written about a movie (questions, lists, pairs) is on one side.
So are movies of one title and the films of a franchise: they share people, places and plots, and one in training would
tell of the other in the test. Only titles and people are looked at, no list of franchises:

- A title's *key* is the title without its subtitle, article and sequel number: ``Terminator 2: Judgment Day`` and
  ``The Terminator`` are both ``terminator``. Movies of one key are one group.
- Groups whose titles begin or end alike (``batman returns`` after ``batman``) are joined where two of their movies have
  people in common, the more people the less the titles share.
- So are the groups of two movies with one description: a film that a table lists under two of its titles.

A group's side follows from a hash of its oldest movie's key: it stays when unrelated movies or sequels are added.
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, pairwise, takewhile

from moviebot.data.schemas import Movie, Split

VAL_SHARE = 0.10
TEST_SHARE = 0.20
SPLITS_VERSION = 2
"""Count up when the rules below put movies elsewhere: `teach` and `clean` then run anew."""
MIN_DESCRIPTION_WORDS = 10
MAX_TWINS = 4  # what more movies than this have in common is a placeholder, or a publisher's boast

_NUMBER = r"(?:\d{1,2}|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten|deux)"
# At the end of a normalised title: "part ii", "chapter two", "vol 1".
_PART = re.compile(rf"(?<=\w) (?:the )?(?:part|chapter|vol|volume|episode|pt|number) {_NUMBER}$")
# A bare number: 2 to 9 or with a fraction ("2½", "33 1/3"); in Roman from II on, but for X ("Malcolm X", "Jason X").
_SEQUEL = re.compile(r"(?<=\w) (?:[2-9]|\d{1,2} \d [234]|ii|iii|iv|v|vi|vii|viii|ix|xi|xii|xiii)$")
_SUBTITLE = re.compile(r"(?<=\w)[!?]?(?:: | [-–—] )")
_FRACTIONS = str.maketrans({"½": " 1/2", "⅓": " 1/3", "²": " 2", "³": " 3"})
_ARTICLE = re.compile(r"^(?:the|a|an) (?=\w)|(?<=\w) (?:the|a|an)$")  # at the end as MovieLens writes it: "Fly, The"
# Two titles that begin with these alone have nothing in common ("Le fils", "Le silence").
_FOREIGN_ARTICLES = frozenset(
    "le la les l un une des el los las una uno der das den il lo gli o os as oru".split()  # noqa: SIM905
)
_ASCII_WORD = re.compile(r"[^\W_]+")


def assign_split(key: str, seed: int = 0) -> Split:
    """Return the side of a group of movies.

    Args:
        key: the group's key.
        seed: another seed gives another draw.
    """
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < TEST_SHARE:
        return "test"
    return "val" if position < TEST_SHARE + VAL_SHARE else "train"


def split_movies(movies: Iterable[Movie], seed: int = 0) -> dict[str, Split]:
    """Return the split of each movie, by its id.

    Args:
        movies: the whole catalogue: whether a film is a sequel, only the others tell.
        seed: another seed gives another draw.

    Example:
        >>> movies = [Movie("tt1", "The Terminator"), Movie("tt2", "Terminator 2: Judgment Day")]
        >>> len(set(split_movies(movies).values()))
        1
    """
    keys = group_movies(movies)
    sides = {key: assign_split(key, seed) for key in set(keys.values())}
    return {tconst: sides[key] for tconst, key in keys.items()}


def group_movies(movies: Iterable[Movie]) -> dict[str, str]:
    """Return the key of each movie's group, by the movie's id.

    Args:
        movies: the whole catalogue.
    """
    members: dict[str, list[Movie]] = defaultdict(list)
    for movie in movies:
        members[franchise_key(movie.title)].append(movie)
    parent = {key: key for key in members}
    age = {key: (min(movie.year or 9999 for movie in found), key) for key, found in members.items()}

    def find(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for one, other in chain(_find_relatives(members), _find_twins(members)):
        first, second = sorted((find(one), find(other)), key=age.__getitem__)
        parent[second] = first
    return {movie.tconst: find(key) for key, found in members.items() for movie in found}


def franchise_key(title: str) -> str:
    """Return a title without subtitle, article and sequel number, normalised.

    Example:
        >>> franchise_key("The Lord of the Rings: The Two Towers"), franchise_key("Rocky II"), franchise_key("Up")
        ('lord of the rings', 'rocky', 'up')
        >>> franchise_key("The Godfather Part II"), franchise_key("Kill Bill: Vol. 1"), franchise_key("Apollo 13")
        ('godfather', 'kill bill', 'apollo 13')
    """
    found = _SUBTITLE.search(title)
    return _strip(title[: found.start()] if found else title)


def normalise_title(title: str) -> str:
    """Fold case, accents and punctuation: ``"The Lord of the Rings: ..."`` -> ``"the lord of the rings ..."``.

    Letters of scripts without a Latin form are kept as they are; a title of punctuation alone keeps its characters.
    """
    folded = title.casefold()
    if folded.isascii():  # five times as fast, and most titles are
        return " ".join(_ASCII_WORD.findall(folded.replace("'", ""))) or folded.strip()
    folded = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    words = "".join(c if c.isalnum() else " " for c in folded.replace("'", "").replace("’", "")).split()
    return " ".join(words) or folded.strip()


def _strip(title: str) -> str:
    key = normalise_title(title.translate(_FRACTIONS))
    while " " in key and (shorter := _ARTICLE.sub("", _SEQUEL.sub("", _PART.sub("", key)))) != key:
        key = shorter
    return key


def _find_relatives(members: Mapping[str, Sequence[Movie]]) -> Iterator[tuple[str, str]]:
    """Yield the keys that people in common show to be of one franchise."""
    by_word: dict[str, list[tuple[str, Movie]]] = defaultdict(list)
    for key, found in members.items():
        by_word[key.split(" ", 1)[0]] += [(key, movie) for movie in found]
    for bucket in by_word.values():
        if len(bucket) > 1:
            yield from _match_starts(bucket)
    crews: dict[str, set[str]] = {}
    for key, found in members.items():
        for movie in found:
            for end in _list_ends(movie.title, key):
                if end not in members:
                    continue
                if end not in crews:
                    crews[end] = {person for other in members[end] for person in _people(other)}
                least = 1 if " " in end or end == f"{key}s" else 2
                shared = crews[end] & _people(movie)
                # Two people in common are no sign where each is in another of the group's movies.
                if len(shared) >= least and any(len(_people(other) & shared) >= least for other in members[end]):
                    yield key, end


def _list_ends(title: str, key: str) -> Iterator[str]:
    """Yield the keys a title ends with ("Hellbound: Hellraiser II"), and the key's plural ("Aliens")."""
    whole = _strip(title) if _SUBTITLE.search(title) else key
    start = whole.find(" ") + 1
    while start:
        yield whole[start:]
        start = whole.find(" ", start) + 1
    yield f"{key}s"


def _match_starts(bucket: Sequence[tuple[str, Movie]]) -> Iterator[tuple[str, str]]:
    """Compare the movies whose keys begin with the same word and who have a person in common."""
    films: dict[str, list[int]] = defaultdict(list)
    for number, (_, movie) in enumerate(bucket):
        for person in _people(movie):
            films[person].append(number)
    keys = [key for key, _ in bucket]
    pairs = (pair for numbers in films.values() for pair in combinations(numbers, 2))
    shared = Counter((one, other) for one, other in pairs if keys[one] != keys[other])
    for (one, other), count in shared.items():
        if count >= _count_needed(keys[one].split(), keys[other].split()):
            yield keys[one], keys[other]


def _count_needed(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many people two movies must share to be of one franchise; chosen by reading a table's 400 matches."""
    start = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]
    common = sum(word not in _FOREIGN_ARTICLES for word in start)
    whole = len(start) == min(len(first), len(second))
    if not common:
        return 4
    return (1 if whole else 2) if common > 1 else (2 if whole else 3)


def _find_twins(members: Mapping[str, Sequence[Movie]]) -> Iterator[tuple[str, str]]:
    """Yield the keys whose movies have the very same description; "No overview found." is nobody's."""
    told: dict[str, set[str]] = defaultdict(set)
    for key, found in members.items():
        for movie in found:
            words = (movie.description or "").casefold().split()
            if len(words) >= MIN_DESCRIPTION_WORDS:
                told[" ".join(words)].add(key)
    for keys in told.values():
        if len(keys) <= MAX_TWINS:
            yield from pairwise(sorted(keys))


def _people(movie: Movie) -> set[str]:
    return {*movie.directors, *movie.cast}
