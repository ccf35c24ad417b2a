"""Queries with one to three conditions drawn from a catalogue, and whether what is shown meets them.

What each condition means is checked here, on the movie's own fields, not by the code that reads the words.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moviebot.data.schemas import Movie
from moviebot.rag.answer import Query
from moviebot.rag.pipeline import MovieBot

_WANTED = 3
_NAMES = {  # how people write a genre: as an adjective or noun before "movie", and in the plural
    "Comedy": ("comedy", "comedies"), "Drama": ("drama", "dramas"), "Horror": ("horror", "horror films"),
    "Thriller": ("thriller", "thrillers"), "Western": ("western", "westerns"),
    "Sci-Fi": ("sci-fi", "science fiction films"),
    "Romance": ("romantic", "romances"), "Action": ("action", "action films"), "Crime": ("crime", "crime movies"),
    "Adventure": ("adventure", "adventure movies"), "Fantasy": ("fantasy", "fantasy films"),
    "Animation": ("animated", "animated films"), "Mystery": ("mystery", "mysteries"), "War": ("war", "war films"),
    "Documentary": ("documentary", "documentaries"), "Musical": ("musical", "musicals"),
    "Family": ("family", "family films"),
}  # fmt: skip
_NUMBER_WORDS = {5: "five", 6: "six", 7: "seven", 8: "eight"}
_DECADES = {
    1930: "thirties", 1940: "forties", 1950: "fifties", 1960: "sixties", 1970: "seventies", 1980: "eighties",
    1990: "nineties",
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """One condition of a query.

    Attributes:
        kind: what it is about.
        words: how the query tells it; "{}" where it stands before the word for movie, else it follows it.
        holds: whether a movie meets it.
        leads: it stands before the word for movie.
    """

    kind: str
    words: str
    holds: Callable[[Movie], bool]
    leads: bool = False


def draw_condition(kind: str, movies: Sequence[Movie], rng: random.Random) -> Condition:
    """Draw a condition of a kind that some movie of the catalogue meets."""
    movie = rng.choice(
        [one for one in movies if one.year and one.runtime_minutes and one.rating and one.directors and one.cast]
    )
    year, minutes, rating = movie.year or 0, movie.runtime_minutes or 0, movie.rating or 0.0
    match kind:
        case "genre" | "no genre":
            names = [genre for genre in movie.genres if genre in _NAMES] or ["Drama"]
            genre = rng.choice(names)
            noun, plural = _NAMES[genre]
            if kind == "genre":
                return Condition(kind, noun, lambda m: genre in m.genres, leads=True)
            unwanted = rng.choice([other for other in _NAMES if other not in movie.genres])
            noun, plural = _NAMES[unwanted]
            words = rng.choice(
                [
                    f"but no {plural}",
                    f"not a {noun} one",
                    f"nothing {noun}",
                    f"without {plural}",
                    f"I don't want {plural}",
                ]
            )
            if noun in ("family", "war", "crime", "action", "fantasy", "adventure"):
                words = rng.choice([f"but no {plural}", f"please no {plural}", f"I don't like {plural}"])
            return Condition(kind, words, lambda m: unwanted not in m.genres)
        case "year":
            words = rng.choice([f"from {year}", f"released in {year}", f"of {year}", f"made in {year}"])
            return Condition(kind, words, lambda m: m.year == year)
        case "before":
            words = rng.choice(
                [
                    f"before {year}",
                    f"older than {year}",
                    f"made before {year}",
                    f"that came out earlier than {year}",
                    f"prior to {year}",
                ]
            )
            return Condition(kind, words, lambda m: m.year is not None and m.year < year)
        case "after":
            words = rng.choice(
                [f"after {year}", f"newer than {year}", f"later than {year}", f"more recent than {year}"]
            )
            return Condition(kind, words, lambda m: m.year is not None and m.year > year)
        case "since":
            words = rng.choice(
                [
                    f"since {year}",
                    f"from {year} on",
                    f"from {year} or later",
                    f"not older than {year}",
                    f"nothing before {year}",
                ]
            )
            return Condition(kind, words, lambda m: m.year is not None and m.year >= year)
        case "between":
            low, high = year - rng.randint(1, 8), year + rng.randint(1, 8)
            words = rng.choice(
                [f"between {low} and {high}", f"from {low} to {high}", f"made from {low} to {high}", f"{low}-{high}"]
            )
            return Condition(kind, words, lambda m: m.year is not None and low <= m.year <= high)
        case "decade":
            decade = year // 10 * 10
            wordings = [f"from the {decade}s", f"of the {decade}s"]
            if decade in _DECADES:
                wordings += [
                    f"from the {_DECADES[decade]}",
                    f"of the {_DECADES[decade]}",
                    f"from the {decade % 100}s",
                    f"from the '{decade % 100}s",
                ]
            return Condition(kind, rng.choice(wordings), lambda m: m.year is not None and m.year // 10 * 10 == decade)
        case "shorter":
            limit = rng.choice([90, 100, 105, 110, 120, 150]) if minutes > 88 else 100
            wordings = [f"under {limit} minutes", f"shorter than {limit} minutes", f"less than {limit} min"]
            wordings += {
                120: ["under two hours", "shorter than 2 hours"],
                90: ["under an hour and a half"],
                150: ["under 2.5 hours", "less than two and a half hours"],
            }.get(limit, [])
            return Condition(
                kind, rng.choice(wordings), lambda m: m.runtime_minutes is not None and m.runtime_minutes < limit
            )
        case "at most":
            limit = max(90, minutes)
            words = rng.choice(
                [
                    f"no longer than {limit} minutes",
                    f"at most {limit} minutes long",
                    f"of {limit} minutes or less",
                    f"not longer than {limit} minutes",
                    f"max {limit} minutes",
                ]
            )
            return Condition(kind, words, lambda m: m.runtime_minutes is not None and m.runtime_minutes <= limit)
        case "longer":
            limit = rng.choice([90, 100, 120, 150])
            wordings = [f"longer than {limit} minutes", f"over {limit} minutes", f"more than {limit} min"]
            wordings += {120: ["longer than two hours", "over 2 hours"], 150: ["over two and a half hours"]}.get(
                limit, []
            )
            return Condition(
                kind, rng.choice(wordings), lambda m: m.runtime_minutes is not None and m.runtime_minutes > limit
            )
        case "rated":
            limit = min(8, int(rating))
            words = rng.choice(
                [
                    f"rated at least {limit}",
                    f"with a rating of {limit} or higher",
                    f"with a score of at least {limit}",
                    f"rated {_NUMBER_WORDS.get(limit, limit)} or better",
                    f"with at least {limit} on imdb",
                ]
            )
            return Condition(kind, words, lambda m: m.rating is not None and m.rating >= limit)
        case "rated above":
            above = round(min(8.0, rating - 0.2), 1)
            words = rng.choice(
                [
                    f"rated above {above:g}",
                    f"with a rating over {above:g}",
                    f"rated higher than {above:g}",
                    f"with an imdb score above {above:g}",
                ]
            )
            return Condition(kind, words, lambda m: m.rating is not None and m.rating > above)
        case "director":
            name = rng.choice(movie.directors)
            words = rng.choice([f"by {name}", f"directed by {name}", f"from director {name}"])
            return Condition(kind, words, lambda m: name in m.directors)
        case "actor":
            name = rng.choice(movie.cast[:3])
            words = rng.choice([f"with {name}", f"starring {name}", f"featuring {name}", f"with {name.lower()}"])
            return Condition(kind, words, lambda m: name in m.cast)
        case "not actor":
            name = rng.choice(movie.cast[:3])
            words = rng.choice([f"without {name}", f"but not with {name}", f"not starring {name}"])
            return Condition(kind, words, lambda m: name not in m.cast and name not in m.directors)
    raise ValueError(kind)


KINDS = (
    "genre", "genre", "genre", "no genre", "year", "before", "after", "since", "between", "decade", "decade", "shorter",
    "at most",
    "longer", "rated", "rated above", "director", "actor", "not actor",
)  # fmt: skip
_ABOUT = {
    **dict.fromkeys(("year", "before", "after", "since", "between", "decade"), "year"),
    **dict.fromkeys(("shorter", "at most", "longer"), "runtime"),
    **dict.fromkeys(("rated", "rated above"), "rating"),
    "actor": "people", "director": "people", "not actor": "people",
}  # fmt: skip


def draw_query(movies: Sequence[Movie], rng: random.Random) -> tuple[str, list[Condition]]:
    """Draw a query of one to three conditions, no two about the same fact."""
    count = rng.choice([1, 2, 2, 3])
    conditions: list[Condition] = []
    while len(conditions) < count:
        kind = rng.choice(KINDS)
        if _ABOUT.get(kind, kind) not in {_ABOUT.get(one.kind, one.kind) for one in conditions}:
            conditions.append(draw_condition(kind, movies, rng))
    leading = [one.words for one in conditions if one.leads]
    following = [one.words for one in conditions if not one.leads]
    rng.shuffle(following)
    following.sort(key=lambda words: words.startswith(("but", "not a", "nothing", "please", "I don't", "not starring")))
    noun = rng.choice(["movie", "film"])
    thing = f"{' '.join(leading)} {noun}" if leading else noun
    article = "an" if thing[0] in "aeiou" else "a"
    opening = rng.choice(
        ["I'm looking for {a} {t}", "Can you recommend {a} {t}", "{a} {t}", "I want to watch {a} {t}",
         "Show me {a} {t}",
         "find me {a} {t}",
         "suggest {a} {t} for tonight", "What's a good {t}", "I'd like {a} {t}", "any good {t}",
         "I'm in the mood for {a} {t}"]
    )  # fmt: skip
    text = opening.format(a=article, t=thing)
    for words in following:
        text += f"{', ' if words.startswith(('but', 'not', 'nothing', 'please', 'I don')) else ' '}{words}"
    return text + rng.choice(["", ".", " please", "?"]), conditions


def measure_constraints(bot: MovieBot, queries: int, seed: int) -> tuple[dict[str, float], list[dict[str, object]]]:
    """Return the figures, and the queries that went wrong."""
    rng = random.Random(seed)
    figures: Counter[str] = Counter()
    faults: list[dict[str, object]] = []
    while figures["queries"] < queries:
        text, conditions = draw_query(bot.movies, rng)
        fitting = [movie for movie in bot.movies if all(one.holds(movie) for one in conditions)]
        if not fitting:
            continue
        [answer] = bot.answer([Query(text)])
        shown = answer.recommendations
        broken = [(movie.label, one.kind) for movie in shown for one in conditions if not one.holds(movie)]
        broken_candidates = [movie for movie in answer.candidates if not all(one.holds(movie) for one in conditions)]
        # A second row of the same title and year is one movie to a person.
        enough = len({movie.label.lower() for movie in fitting}) >= _WANTED
        figures["queries"] += 1
        figures["items shown"] += len(shown)
        figures["items shown that break a condition"] += len({label for label, _ in broken})
        figures["candidates that break a condition"] += len(broken_candidates)
        figures["queries where three exist"] += enough
        figures["fewer than three shown although three exist"] += enough and len(shown) < _WANTED
        figures["fewer exist, not all shown"] += not enough and len(shown) < len(
            {movie.label.lower() for movie in fitting}
        )
        figures["taken for a recommendation"] += answer.intent == "recommend"
        if (
            broken
            or broken_candidates
            or (enough and len(shown) < _WANTED)
            or answer.intent != "recommend"
            or not shown
        ):
            wish = answer.conversation.wish if answer.conversation else None
            faults.append(
                {
                    "query": text,
                    "intent": answer.intent,
                    "read": wish.constraints.describe() if wish else None,
                    "seeds": [bot.movies[row].label for row in wish.seeds] if wish else [],
                    "broken": broken,
                    "shown": len(shown),
                    "fitting": len(fitting),
                }
            )
    return dict(figures), faults
