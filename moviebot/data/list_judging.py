"""Recommendation lists: names become movies, a list about another movie moves there, several teachers' are fused."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property

from moviebot.data.catalogue import SIMILAR_SOURCE
from moviebot.data.lesson import OFFERED
from moviebot.data.list_name import Name, Reading
from moviebot.data.list_parsing import ParsedList, parse_list
from moviebot.data.matching import Match, TitleMatcher, make_keys
from moviebot.data.movielens_teacher import MOVIELENS
from moviebot.data.pairs import MAY_SEE
from moviebot.data.recommendations import ContentRecommender
from moviebot.data.rejects import CleanReason, Rejects
from moviebot.data.replies import Reply
from moviebot.data.schemas import Movie, RecommendationList, Split

COMPUTED = frozenset(("template", SIMILAR_SOURCE, MOVIELENS))
"""Teachers that are no language model: their lists are about the movie asked about, whatever stands first."""
REANCHOR_LEAD = 1.35
"""The first title takes a list over where its mean similarity to the other n leads the seed's by this / sqrt(n). Chosen
on half of the movies so that one right list in a hundred, drawn from people's co-likes, is taken away from its seed."""
REANCHOR_LEAST = 3  # movies behind the first
RANK_OFFSET = 60
"""k of reciprocal rank fusion, 1 / (k + rank). Source: Cormack, Clarke and Buettcher, SIGIR 2009."""
_MAX_SUFFIX = 10


@dataclass(frozen=True)
class _Ranked:
    """One teacher's list, before it is fused; ``movies`` are all it names, best first."""

    tconst: str
    movies: tuple[str, ...]
    source: str
    raw: str


class ListJudge:
    """Judges replies to recommend requests.

    Args:
        movies: the catalogue.
        splits: the split of each movie.
        rejects: where what is thrown away goes.
        counts: ``lists_in``, ``mended_json``, ``outside_split``, ``reanchored`` and ``fused`` are counted there.
    """

    def __init__(
        self, movies: Sequence[Movie], splits: Mapping[str, Split], rejects: Rejects, counts: Counter[str]
    ) -> None:
        self._movies, self._splits, self._rejects, self._counts = movies, splits, rejects, counts
        self._known = {movie.tconst: movie for movie in movies}
        self._order = {movie.tconst: row for row, movie in enumerate(movies)}
        self._offered: dict[str, frozenset[str]] = {}
        counts.update({"reanchored": 0, "fused": 0, "fuzzy_titles": 0})

    @cached_property
    def _matcher(self) -> TitleMatcher:
        return TitleMatcher(self._movies)

    @cached_property
    def _recommender(self) -> ContentRecommender:
        return ContentRecommender(self._movies)

    def judge(self, replies: Sequence[Reply]) -> list[RecommendationList]:
        """Return the lists, one a movie, in the catalogue's order; count what is thrown away.

        Args:
            replies: the replies that count, about movies of the catalogue.
        """
        lists = [found for reply in replies if (found := self._read(reply))]
        return self._fuse(self._reanchor(lists))

    def _read(self, reply: Reply) -> _Ranked | None:
        parsed = parse_list(reply.reply)
        matches = [self._match(name, parsed, reply) for name in parsed.names] if parsed else []
        # Lines and commas are a list only where they name movies; otherwise they are prose.
        is_prose = parsed is None or (
            parsed.form in ("lines", "commas") and 2 * sum(m.movie is not None for m in matches) < len(matches)
        )
        if parsed is None or is_prose:
            self._reject("malformed_json" if "{" in reply.reply else "no_list", reply.tconst, reply.reply)
            return None
        self._counts["lists_in"] += 1
        self._counts["mended_json"] += parsed.mended
        told = self._find_about(parsed, reply)
        anchor = reply.tconst
        if told and told != anchor:
            self._counts["reanchored"] += 1
            anchor = told
        named: list[str] = []
        for name, match in zip(parsed.names, matches, strict=True):
            if match.movie is None:
                empty = not name.raw.strip()
                self._reject(
                    "empty" if empty else "ambiguous_title" if match.fault == "ambiguous" else "invented_title",
                    reply.tconst, name.raw,
                )  # fmt: skip
            elif match.movie.tconst == anchor:
                self._reject("seed_recommended", reply.tconst, name.raw)
            elif match.movie.tconst in named:
                self._reject("repeated_movie", reply.tconst, name.raw)
            else:
                self._counts["fuzzy_titles"] += match.how == "fuzzy"
                named.append(match.movie.tconst)
        if parsed.left_over:
            self._reject("too_many_recommended", reply.tconst, f"{parsed.left_over} names behind the 200th")
        if not named:
            self._reject("too_few_recommended", reply.tconst, reply.reply)
            return None
        source = reply.model
        # A reply that says whom the list is for is taken at its word: features can't take it away again.
        return _Ranked(anchor, tuple(named), source, "" if told else reply.reply)

    def _match(self, name: Name, parsed: ParsedList, reply: Reply) -> Match:
        """Find the movie of a name: every reading exactly first, then misspelt."""
        best = Match(fault="invented")
        for fuzzy in (False, True):
            for title, year in name.readings:
                found = self._matcher.find(title, year, fuzzy=fuzzy)
                if found.fault == "ambiguous":
                    found = self._matcher.find(title, year, self._list_offered(reply.tconst), fuzzy=fuzzy)
                if found.movie is not None:
                    return found
                best = found if found.fault == "ambiguous" else best
            if best.fault == "ambiguous":
                return best
        if parsed.form == "years" and name.readings:  # "you may like Heat (1995)": the title is the end of it
            title, year = name.readings[0]
            words = title.split()[-_MAX_SUFFIX:]
            for start in range(1, len(words)):
                found = self._matcher.find(" ".join(words[start:]), year, fuzzy=False)
                if found.movie is not None and found.how == "exact":
                    return found
        return best

    def _list_offered(self, tconst: str) -> Set[str]:
        if tconst not in self._offered:
            self._offered[tconst] = frozenset(next(self._recommender.rank([tconst], OFFERED))[1])
        return self._offered[tconst]

    def _find_about(self, parsed: ParsedList, reply: Reply) -> str | None:
        """Return the movie that the reply says its list is for: the seed, or another of the catalogue; else None."""
        if not parsed.about:
            return None
        seed = self._known[reply.tconst]
        names = {key for name in (seed.title, seed.original_title, *seed.akas) if name for key in make_keys(name)}
        if any(_is_same(reading, seed, names) for reading in parsed.about):
            return seed.tconst
        if reply.model in COMPUTED:
            return None
        for title, year in parsed.about:
            found = self._matcher.find(title, year, fuzzy=False)
            # A short name without a year may be any word of the prose.
            if found.movie is not None and (year is not None or len(title) > 5):
                return found.movie.tconst
        return None

    def _reanchor(self, lists: Sequence[_Ranked]) -> list[_Ranked]:
        """Give a list to its first title where that explains the rest clearly better than the seed does."""
        asked = [
            found for found in lists
            if found.raw and found.source not in COMPUTED and len(found.movies) > REANCHOR_LEAST
        ]  # fmt: skip
        if not asked:
            return list(lists)
        rest = [other for found in asked for other in found.movies[1:]]
        leads = self._recommender.compare([f.movies[0] for f in asked for _ in f.movies[1:]], rest)
        leads -= self._recommender.compare([f.tconst for f in asked for _ in f.movies[1:]], rest)
        moved: dict[int, _Ranked] = {}
        start = 0
        for found in asked:
            n = len(found.movies) - 1
            if leads[start : start + n].mean() > REANCHOR_LEAD / math.sqrt(n):
                moved[id(found)] = replace(found, tconst=found.movies[0], movies=found.movies[1:])
                self._counts["reanchored"] += 1
            start += n
        return [moved.get(id(found), found) for found in lists]

    def _fuse(self, lists: Sequence[_Ranked]) -> list[RecommendationList]:
        """Make one list a movie: every teacher's rank counts the same (reciprocal rank fusion)."""
        by_movie: dict[str, list[_Ranked]] = defaultdict(list)
        for found in lists:
            by_movie[found.tconst].append(found)
        fused = []
        for tconst in sorted(by_movie, key=self._order.__getitem__):
            # In a fixed order, so that sums are the same whatever order the replies came in.
            several = sorted(by_movie[tconst], key=lambda found: (found.source, found.movies))
            self._counts["fused"] += len(several) - 1
            scores: dict[str, float] = defaultdict(float)
            for found in several:
                for rank, other in enumerate(found.movies, start=1):
                    scores[other] += 1 / (RANK_OFFSET + rank)
            ranked = sorted(scores, key=lambda other: (-round(scores[other], 12), self._order[other]))
            split = self._splits[tconst]
            kept = tuple(other for other in ranked if self._splits[other] in MAY_SEE[split])
            self._counts["outside_split"] += len(ranked) - len(kept)
            source = "+".join(sorted({found.source for found in several}))
            if kept:
                fused.append(RecommendationList(tconst, kept, source, split))
            else:
                self._reject("too_few_recommended", tconst, "\n".join(found.raw for found in several))
        return fused

    def _reject(self, reason: CleanReason, tconst: str, raw: str) -> None:
        self._rejects.add(reason, tconst, raw)


def _is_same(reading: Reading, seed: Movie, names: Set[str]) -> bool:
    """Say whether a reading names the seed, perhaps without its subtitle."""
    keys = make_keys(reading[0])
    same_year = reading[1] is None or seed.year is None or abs(reading[1] - seed.year) <= 1
    return same_year and any(name == key or name.startswith(f"{key} ") for key in keys for name in names)
