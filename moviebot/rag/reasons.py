"""Why a movie is recommended, in a few words that are true: told from the catalogue's fields, never generated.

For a person who likes a movie, what the two share; the rarer, the more it says: half of all movies are dramas, few have
one director. For a person who only wishes, what of the wish the movie is.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from moviebot.data.prompts import clean_text
from moviebot.data.roles import find_genres
from moviebot.data.schemas import Movie
from moviebot.data.splits import franchise_key, normalise_title
from moviebot.data.template_teacher import join_names
from moviebot.rag.themes import Themes

MAX_NAMES = 2
MAX_THEMES = 2
THEME_WEIGHT = 0.4
"""A shared word says less than a shared person: it may be chance."""
_CLOSEST = "among the closest matches in my catalogue"
_ADJECTIVES = {
    "action": "action", "adventure": "adventure", "animation": "animated", "biography": "biographical",
    "crime": "crime", "family": "family", "fantasy": "fantasy", "history": "historical", "horror": "horror",
    "music": "music", "romance": "romantic", "sci-fi": "science-fiction", "sport": "sports", "war": "war",
    "film-noir": "noir",
}  # fmt: skip
_NOUNS = {
    "comedy": "comedy", "documentary": "documentary", "drama": "drama", "musical": "musical", "mystery": "mystery",
    "thriller": "thriller", "western": "western", "short": "short film",
}  # fmt: skip


class ReasonTeller:
    """Knows how rare each person, genre and word is in a catalogue.

    Args:
        movies: the catalogue.
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        self._count = max(1, len(movies))
        self._people = Counter(name for movie in movies for name in _name_people((*movie.directors, *movie.cast)))
        self._genres = Counter(genre for movie in movies for genre in set(movie.genres))
        self._themes = Themes(movies)

    def tell(self, movie: Movie, liked: Sequence[Movie] = (), wish: str = "") -> str:
        """Say why a movie is recommended.

        Args:
            movie: the movie recommended.
            liked: the movies that the person likes; of several, the one that it has most in common with is named.
            wish: the person's words, heeded where it has nothing in common with them.

        Returns:
            A phrase without a full stop, in one line, never empty.

        Example:
            >>> heat = Movie("tt1", "Heat", year=1995, genres=("Crime", "Drama"), cast=("Al Pacino",))
            >>> other = Movie("tt2", "Donnie Brasco", year=1997, genres=("Crime", "Drama"), cast=("Al Pacino",))
            >>> teller = ReasonTeller([heat, other])
            >>> teller.tell(other, [heat]), teller.tell(other, wish="a crime film with al pacino")
            ('another crime drama with Al Pacino', 'a crime drama from 1997 with Al Pacino')
        """
        links = [(*self._tell_shared(movie, one), one) for one in liked]
        _, told, like = max(links, key=lambda found: found[0], default=(0.0, "", None))
        if told and like is not None and len(liked) > 1:
            told += f" (like {like.title})"
        return clean_text(told or self._tell_fit(movie, wish)) or _CLOSEST

    def _tell_shared(self, movie: Movie, liked: Movie) -> tuple[float, str]:
        """Name the two rarest links, and say how much they say; empty where there is none."""
        directors = self._share(movie.directors, liked.directors)
        cast = [name for name in self._share(movie.cast, liked.cast) if name not in directors]
        genres = [genre for genre in movie.genres if genre in liked.genres]
        themes = self._share_themes(movie, liked)
        links = {
            "directors": self._weigh(self._people, _name_people(directors)),
            "cast": self._weigh(self._people, _name_people(cast)),
            "genres": self._weigh(self._genres, genres),
            "themes": THEME_WEIGHT * self._weigh({theme: self._themes.count(theme) for theme in themes}, themes),
        }
        rarest = sorted(links, key=lambda name: -links[name])[:2]
        kept = {name for name in rarest if links[name] > 0}
        kind = name_genres(genres) if genres else "film"
        told = f"another {kind}" if "genres" in kept else ""
        if _is_series(movie, liked):
            told = "from the same series"
        if "directors" in kept:
            told = f"{told}, also directed by {join_names(directors[:MAX_NAMES])}".removeprefix(", ")
        if "cast" in kept:
            stars = f"with {join_names(cast[:MAX_NAMES])}"
            joint = "," if "directed by" in told or told.endswith("series") else ""
            told = f"{told}{joint} {stars}" if told else f"also {stars}"
        if not told or told == f"another {kind}":
            told = self._tell_crossing(movie, liked) or told
        if "themes" in kept:
            quoted = join_names([f'"{word}"' for word in themes])
            told = f"{told}; both stories speak of {quoted}" if told else f"both stories speak of {quoted}"
        if told == f"another {kind}":  # the weakest link alone: what else the movie has to say for itself
            told += _tell_when(movie, liked) + _tell_rating(movie)
        return sum(links[name] for name in kept), told

    def _tell_fit(self, movie: Movie, wish: str) -> str:
        """Describe a movie by what of the wish it meets; empty where the catalogue knows only its title."""
        asked = f" {normalise_title(wish)} "
        wanted = find_genres(wish)
        genres = sorted(movie.genres, key=lambda genre: genre.casefold() not in wanted)
        directors, cast = (
            [name for name in names if _is_named(name, asked)] for names in (movie.directors, movie.cast)
        )
        subject = self._themes.find(wish.casefold().partition(" about ")[2])  # "something funny" is no theme
        themes = [word for word in self._themes.find(movie.description) if word in subject]
        if not (genres or movie.year or movie.rating or directors or cast or themes):
            directors, cast = list(movie.directors), list(movie.cast)
        kind = name_genres(genres[: max(2, len(wanted))]) if genres else "film"
        told = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" + (f" from {movie.year}" if movie.year else "")
        told += f" directed by {join_names(directors[:MAX_NAMES])}" if directors else ""
        told += f" with {join_names(cast[:MAX_NAMES])}" if cast else ""
        told += f" about {join_names(themes[:MAX_THEMES])}" if themes else ""
        told += _tell_rating(movie)
        return "" if told == "a film" else told

    def _tell_crossing(self, movie: Movie, liked: Movie) -> str:
        """Name a person who directs one of the two and acts in the other."""
        title = clean_text(liked.title)
        if both := self._share(movie.directors, liked.cast):
            return f"directed by {both[0]}, who is in {title}"
        if both := self._share(movie.cast, liked.directors):
            return f"with {both[0]}, who directed {title}"
        return ""

    def _share(self, names: Sequence[str], others: Sequence[str]) -> list[str]:
        """Return the names that stand in both, the rarest first."""
        known = set(_name_people(others))
        shared = [name for name in dict.fromkeys(names) if normalise_title(name) in known]
        return sorted(shared, key=lambda name: self._people[normalise_title(name)])

    def _share_themes(self, movie: Movie, liked: Movie) -> list[str]:
        shared = set(self._themes.find(liked.description))
        return [word for word in self._themes.find(movie.description) if word in shared][:MAX_THEMES]

    def _weigh(self, counts: Mapping[str, int], names: Iterable[str]) -> float:
        """Return how much sharing names says: the sum of the logarithms of how rare they are."""
        return sum(math.log((self._count + 1) / max(1, counts[name])) for name in names)


def name_genres(genres: Sequence[str]) -> str:
    """Name a kind of movie by up to two of its genres.

    Example:
        >>> name_genres(["Crime", "Drama"]), name_genres(["Sci-Fi", "Adventure"]), name_genres(["Comedy", "Drama"])
        ('crime drama', 'science-fiction adventure film', 'comedy-drama')
    """
    # Catalogues write sci-fi, scifi and Sci Fi.
    folded = [{"scifi": "sci-fi", "filmnoir": "film-noir"}.get(_plain(genre), genre.casefold()) for genre in genres]
    nouns = [_NOUNS[genre] for genre in folded if genre in _NOUNS][:2]
    before = [_ADJECTIVES.get(genre, genre) for genre in folded if genre not in _NOUNS][: 1 if nouns else 2]
    if before:
        nouns = nouns[:1]
    return " ".join([*before, "-".join(nouns) if nouns else "film"])


def _plain(genre: str) -> str:
    return normalise_title(genre).replace(" ", "")


def _name_people(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(normalise_title(name) for name in names))


def _is_series(movie: Movie, liked: Movie) -> bool:
    """Say whether two movies of one title but for its number or subtitle have people in common."""
    people = {*_name_people((*movie.directors, *movie.cast))} & {*_name_people((*liked.directors, *liked.cast))}
    return bool(people) and franchise_key(movie.title) == franchise_key(liked.title)


def _is_named(name: str, asked: str) -> bool:
    """Say whether a wish, normalised and between spaces, names a person in full."""
    return f" {normalise_title(name)} " in asked


def _tell_when(movie: Movie, liked: Movie) -> str:
    if movie.year is None:
        return ""
    same = liked.year is not None and movie.year // 10 == liked.year // 10
    return f" of the {movie.year // 10 * 10}s" if same else f" from {movie.year}"


def _tell_rating(movie: Movie) -> str:
    return f", rated {movie.rating:g}" if movie.rating is not None else ""
