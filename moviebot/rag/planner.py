"""What to do with a turn: which movie it is about, what it asks for, and what the conversation makes of it.

A plan is an :class:`~moviebot.rag.answer.Answer` with everything but the text that a language model may still write.

Shapes: D embedding.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from moviebot.data.prompts import clean_text, render_question_prompt, render_recommend_prompt
from moviebot.data.schemas import Movie
from moviebot.data.splits import group_movies, normalise_title
from moviebot.data.template_teacher import join_names
from moviebot.rag.answer import (
    NO_CANDIDATES,
    NOT_FOUND,
    NOTHING_SHOWN,
    START_OVER,
    Answer,
    ask_which,
    frame,
    show_recommendations,
    tell_none_fits,
)
from moviebot.rag.candidates import CandidateRanker
from moviebot.rag.checks import MAX_RECOMMENDATIONS
from moviebot.rag.clauses import is_asking, is_request
from moviebot.rag.constraints import Constraints, Person
from moviebot.rag.conversation import Conversation, Wish
from moviebot.rag.dialogue_acts import Act, find_places, is_no, is_yes, pick_choice, read_act
from moviebot.rag.fact_line import tell_fact
from moviebot.rag.intent import MASK, Guess, Intent
from moviebot.rag.reasons import ReasonTeller
from moviebot.rag.resolver import MAX_CANDIDATES, SURE, Resolution
from moviebot.rag.small_talk import reply
from moviebot.rag.titles import Mention
from moviebot.rag.wishes import SEED_SCORE, Wishes, WishReader, compare, weigh_moods
from moviebot.rag.words import fold

_SEED_SURE = 0.5  # or one that is this likely meant: "movies like the godfahter", but not "something funny"
_MIXED_SURE = 0.5  # a clause is a question, or a wish, where it is at least this likely
_REFINING_WORDS = 8
_NEW_WISH = re.compile(
    r"\b(?:looking for|recommend\w*|suggest\w*|i want|i need|i'd like|in the mood|give me|show me|"
    r"find me|fancy|got any|feel like|"
    r"what should|what (?:can|could) i|any good|movies like|films like|something like)\b",
    re.IGNORECASE,
)
_REFINES = re.compile(
    r"\b(?:another|more|else|others?|instead|also|too|those|these|them|ones?|but|only|same|still|rather)\b", re.I
)
_WANTS_GOOD = re.compile(r"\b(?:good|great|best|nice|decent)\b.{0,40}\b(?:movies?|films?|ones?)\b", re.I)
_CARRIES = re.compile(
    r"\s*(?:and|what about|how about|and what about|and how about|same (?:question )?for|or|and for|and in)\b", re.I
)
# "movies like Heat" says what to look for, not that the person liked it.
_PRAISES = re.compile(
    r"\b(?:loved?|liked|i(?: really| also| do)? like|enjoy(?:ed)?|adored?|favou?rites?|fan of|"
    r"(?:is|was|were)(?: so| really| just| absolutely)? (?:great|amazing|brilliant|fantastic|wonderful))\b",
    re.I,
)
_OTHER_ONE = re.compile(r"\b(?:the|no|not)\b.*\b(?:one|original|remake|version|film|movie|other|older|newer)\b", re.I)
_SEEN = re.compile(r"\b(?:i|we)(?:'ve| have)?(?: already| just| only| also)? (?:seen|watched|saw)\b", re.I)
_BOTH = re.compile(r"\b(?:like|similar to|love[d]?|liked|between|mix of) (?:both|them both|the two|those two)\b", re.I)
_BY_THEM = re.compile(
    r"\b(?:by|from) (?:him|her|them|that (?:guy|director)|the same (?:guy|director|person|man|woman))\b|"
    r"\b(?:same|that) director\b",
    re.I,
)
_MOVIES_OF = re.compile(r"\b(?:what|how) about\b.*\b(?:movies|films|flicks|comedies|dramas|thrillers|westerns)\b", re.I)
_RELATIVE = re.compile(r"\b(?:sequels?|prequels?|remakes?|spin-?offs?|follow-?ups?)\b", re.I)
_DROPPED = re.compile(
    r"(?:ok(?:ay)?,? |no,? |actually,? )*(?:drop|forget|lose|skip|never mind|ignore|leave out)(?: about)? the "
    r"(?P<what>[\w -]+?)(?: part| thing| bit| requirement)?(?: please| then)?\W*",
    re.I,
)
_TASTES = re.compile(
    r"what (?:do|did|have) i (?:like|liked|love|told you)\b.*|"
    r"(?:show (?:me )?|what are )?my (?:likes|tastes?|dislikes)\b.*|"
    r"what do you know about (?:me|my tastes?)\W*",
    re.I,
)
_HOLDS_UP = re.compile(
    r"\b(?:like|love[ds]?|liked|similar|fan|enjoyed|watched|seen|saw|adored?|favou?rites?|after|resembl\w+|same)\b",
    re.I,
)


@dataclass(frozen=True)
class Turn:
    """What a person said, read without regard to what was said before.

    Attributes:
        text: their words.
        masked: the same, its titles masked.
        mentions: the titles.
        guess: the intent.
        found: the movies it may mean.
        vector: ``(D,)`` its embedding; only of wishes.
        clauses: its parts, where it has several, each with its intent.
    """

    text: str
    masked: str
    mentions: Sequence[Mention]
    guess: Guess
    found: Resolution
    vector: NDArray[np.float32] | None = None
    clauses: Sequence[tuple[str, Guess]] = field(default=())

    @property
    def named(self) -> bool:
        """Whether a title of the catalogue stands in it."""
        return any(mention.score >= SEED_SCORE for mention in self.mentions)


class Planner:
    """Plans answers.

    Args:
        movies: the catalogue.
        ranker: ranks it for a wish.
        wishes: reads wishes.
    """

    def __init__(self, movies: Sequence[Movie], ranker: CandidateRanker, wishes: WishReader) -> None:
        self.movies = movies
        self.ranker = ranker
        self.wishes = wishes
        self.reasons = ReasonTeller(movies)

    def plan(self, turn: Turn, conversation: Conversation) -> Answer:
        """Return the answer to a turn; what the turn tells of the person's wishes and tastes is noted."""
        if conversation.choices and (chosen := self._plan_choice(turn, conversation)) is not None:
            return chosen
        conversation.choices = ()
        offered, conversation.offered = conversation.offered, None
        if offered is not None and is_yes(turn.text):
            return self._rank(self._start(turn, "recommend"), offered, conversation)
        if (corrected := self._plan_namesake(turn, conversation)) is not None:
            return corrected
        if _TASTES.fullmatch(turn.text.strip()):
            return self._say(turn, "other", self._tell_tastes(conversation))
        if (dropped := self._drop_genre(turn, conversation)) is not None:
            return dropped
        act = read_act(turn.masked, len(conversation.listed))
        if act is not None and act.kind == "restart":
            conversation.start_over()
            if not act.rest.strip():
                return self._say(turn, "other", START_OVER)
            act = None
        if act is not None and (done := self._plan_act(act, turn, conversation)) is not None:
            return done
        if (followed := self._plan_follow_up(turn, conversation)) is not None:
            return followed
        if (mixed := self._plan_mixed(turn, conversation)) is not None:
            return mixed
        return self._plan_by_intent(turn, conversation)

    # What is said in full.

    def _plan_by_intent(self, turn: Turn, conversation: Conversation) -> Answer:
        wishes = self.wishes.read(turn.text, turn.mentions)
        intent = turn.guess.intent
        asks = is_asking(turn.masked)
        relative = _RELATIVE.search(turn.masked) is not None
        if intent != "recommend" and not asks and not relative and self._refines(turn, wishes, conversation):
            intent = "recommend"
        wants = not asks or _WANTS_GOOD.search(turn.masked) or _MOVIES_OF.search(turn.masked)
        if conversation.row is not None and not turn.named and relative:
            intent = "question"  # "how about the sequel?" is about the movie spoken of
        elif wishes.notes and conversation.wish is not None and wants:
            intent = "recommend"  # "from Spain": what can't be gone by is said
        if intent != "recommend" and wants and wishes.constraints and not turn.named:
            intent = "recommend"  # "a film by Haifaa Al-Mansour": conditions are told of what one wants to see
        if wishes.disliked and not asks and not (wishes.liked or wishes.constraints or is_request(turn.masked)):
            return self._note_dislikes(turn, wishes.disliked, conversation)
        if intent == "recommend":
            return self._plan_recommendation(turn, wishes, conversation)
        if intent == "other":
            return self._start(turn, intent, turn.found.row if turn.named else None, text=reply(turn.text))
        row, score = self._find_movie(turn, intent, conversation)
        answer = self._start(turn, intent, row, score)
        if answer.movie is not None:
            answer.prompt = render_question_prompt(turn.text, answer.movie)
            conversation.question = turn.masked
            return answer
        choices = turn.found.choices
        answer.answer = ask_which([self.movies[choice] for choice in choices]) if choices else NOT_FOUND
        answer.abstained = True
        conversation.choices, conversation.pending = choices, turn.text
        return answer

    def _find_movie(self, turn: Turn, intent: Intent, conversation: Conversation) -> tuple[int | None, float]:
        row, score = turn.found.row, turn.found.score
        surely = row is not None and score >= SURE and not conversation.refers_back(turn.text)
        if turn.named or (intent == "question" and surely):
            return row, score
        if (recalled := conversation.recall(turn.text, intent == "recommend")) is not None:
            return recalled, 1.0
        if intent == "other" or (intent == "recommend" and score < _SEED_SURE):
            return None, score  # "I'm looking for a drama" names no movie, whatever it is spelt like
        return row, score

    def _refines(self, turn: Turn, wishes: Wishes, conversation: Conversation) -> bool:
        """Say whether a turn changes the wish before it, rather than telling a new one."""
        if conversation.wish is None and conversation.row is None:
            return False
        if wishes.liked or wishes.is_empty:
            return False
        if wishes.comparisons or wishes.moods or _REFINES.search(turn.masked):
            return True
        known = conversation.wish is not None
        return known and len(turn.masked.split()) <= _REFINING_WORDS and not _NEW_WISH.search(turn.masked)

    def _plan_recommendation(self, turn: Turn, wishes: Wishes, conversation: Conversation) -> Answer:
        for disliked in wishes.disliked:
            conversation.dislike(disliked)
        if _PRAISES.search(turn.masked):
            for liked in wishes.liked:
                conversation.like(liked)
        row, score = self._find_movie(turn, "recommend", conversation)
        if not turn.named and wishes.constraints and not _HOLDS_UP.search(turn.masked):
            row = None  # "a comedy with Tom Hanks" names no movie
        rejected = {*wishes.disliked, *wishes.excluded}
        seeds = list(wishes.liked)
        if wishes.liked and _SEEN.search(turn.masked):
            for seen in wishes.liked:
                conversation.mark_seen(seen)
        if not seeds and len(conversation.spoken) > 1 and _BOTH.search(turn.masked):
            seeds = list(conversation.spoken[-2:])
        wishes = self._take_director(turn, wishes, conversation)
        if row is not None and row not in rejected and row not in seeds and not wishes.liked:
            seeds.insert(0, row)
        if wishes.constraints.people and not wishes.liked and not _HOLDS_UP.search(turn.masked):
            seeds = []  # "more by him"
        wish = Wish(wishes.rest, tuple(seeds), wishes.constraints, wishes.moods, wishes.excluded, turn.vector)
        before = conversation.wish
        # A wish refined keeps what it was refined from; "similar ones" do so too, where there is a wish.
        refined = self._refines(turn, wishes, conversation) or (before is not None and not wishes.liked and bool(seeds))
        if refined and before is not None:
            wish = Wish(
                f"{before.text} {wishes.rest}",
                before.seeds or (wish.seeds if wishes.is_empty else ()),
                before.constraints.refine(wishes.constraints),
                before.moods | wishes.moods,
                (*before.excluded, *wishes.excluded),
                before.vector if before.vector is not None else turn.vector,
            )
        elif not wish.seeds and conversation.likes and wishes.is_empty:  # "surprise me"
            wish = replace(wish, seeds=tuple(conversation.likes))
        if wishes.comparisons:
            reference = wishes.liked or conversation.listed or ([row] if row is not None else [])
            if not reference and conversation.row is not None:
                reference = [conversation.row]
            nearer = compare(wishes.comparisons, [self.movies[one] for one in reference])
            wish = replace(wish, constraints=wish.constraints.refine(nearer))
            if not wish.seeds and not before and conversation.row is not None:
                wish = replace(wish, seeds=(conversation.row,))  # "something newer" behind a question about Heat
        answer = self._start(turn, "recommend", None, score if wish.seeds else 0.0)
        answer.notes = list(wishes.notes)
        if wishes.disliked:
            answer.preface = self._tell_dislikes(wishes.disliked)
        if wishes.strangers:
            names = " or ".join(clean_text(name) for name in wishes.strangers)
            answer.answer = frame(answer, f"I know no movie with {names} in my catalogue.")
            answer.abstained = True
            conversation.wish = wish
            return answer
        return self._rank(answer, wish, conversation)

    def _rank(self, answer: Answer, wish: Wish, conversation: Conversation) -> Answer:
        """Fill in the candidates of a wish."""
        conversation.wish, conversation.last = wish, answer
        barred = self._bar(wish, conversation)
        rows = self.ranker.rank(
            wish.text,
            wish.seeds,
            wish.vector,
            barred,
            constraints=wish.constraints or None,
            worth=weigh_moods(wish.moods),
        )
        seed = wish.seeds[0] if wish.seeds else None
        if seed is not None:
            answer.movie, answer.liked = self.movies[seed], [self.movies[row] for row in wish.seeds]
            known = [movie for movie in answer.movie_candidates if movie is not answer.movie]
            answer.movie_candidates = [answer.movie, *known][:MAX_CANDIDATES]
        answer.candidates = [self.movies[row] for row in rows]
        if not rows:
            answer.abstained = True
            answer.answer = frame(answer, self._tell_none(wish, barred, conversation))
            return answer
        if len(rows) < MAX_RECOMMENDATIONS and wish.constraints:
            only = "Only this one fits" if len(rows) == 1 else "Only these two fit"
            left = " and was not shown yet" if len(rows) == 1 else " and were not shown yet"
            answer.notes.append(
                f"{only} all of that ({wish.constraints.describe()}){left if conversation.shown else ''}."
            )
        # Without a model, and until it has written, the best three candidates stand.
        answer.recommendations = answer.candidates[:MAX_RECOMMENDATIONS]
        answer.reasons = self._explain(answer.query, answer.recommendations, wish)
        answer.answer = show_recommendations(answer)
        if answer.movie is not None:
            answer.prompt = render_recommend_prompt(answer.movie, answer.candidates, MAX_RECOMMENDATIONS)
        return answer

    def _bar(self, wish: Wish, conversation: Conversation) -> set[int]:
        """Return the rows that must not be shown."""
        barred = {*conversation.shown, *conversation.seen, *conversation.likes}
        for row in (*conversation.dislikes, *wish.excluded):
            barred |= self._series[self._groups[self.movies[row].tconst]]
        return barred

    def _tell_none(self, wish: Wish, barred: set[int], conversation: Conversation) -> str:
        if not wish.constraints:
            return NO_CANDIDATES
        free = np.ones(len(self.movies), dtype=bool)
        free[[*barred, *wish.seeds]] = False
        relaxed = [
            (condition, int((rest.allow(self.movies) & free).sum()), rest)
            for condition, rest in wish.constraints.split()
        ]
        relaxed = sorted((one for one in relaxed if one[1]), key=lambda one: -one[1])
        if relaxed:
            conversation.offered = replace(wish, constraints=relaxed[0][2])
        return tell_none_fits(wish.constraints.describe(), [one[:2] for one in relaxed], bool(conversation.shown))

    # What refers to the turns before.

    def _plan_choice(self, turn: Turn, conversation: Conversation) -> Answer | None:
        """Answer what was in doubt, once the person says which movie they meant."""
        choices = conversation.choices
        place = pick_choice(turn.text, [self.movies[row] for row in choices])
        if place is None:
            if is_no(turn.text):
                conversation.choices = ()
                answer = self._say(turn, "question", NOT_FOUND)
                answer.abstained = True
                return answer
            return None
        if turn.named and turn.found.row not in choices:
            return None
        answer = self._start(turn, "question", choices[place], 1.0)
        answer.prompt = render_question_prompt(conversation.pending, self.movies[choices[place]])
        conversation.choices, conversation.question = (), conversation.pending
        return answer

    def _plan_namesake(self, turn: Turn, conversation: Conversation) -> Answer | None:
        """Answer the last question of another movie of the same title: "no, the 1990 one", "the original"."""
        row = conversation.row
        if row is None or conversation.lists_last or not conversation.question or not _OTHER_ONE.search(turn.text):
            return None
        title = normalise_title(self.movies[row].title)
        namesakes = [n for n, movie in enumerate(self.movies) if normalise_title(movie.title) == title]
        place = pick_choice(turn.text, [self.movies[n] for n in namesakes]) if len(namesakes) > 1 else None
        if place is None or len(turn.text.split()) > _REFINING_WORDS:
            return None
        answer = self._start(turn, "question", namesakes[place], 1.0)
        movie = self.movies[namesakes[place]]
        answer.prompt = render_question_prompt(_name_movie(conversation.question, movie), movie)
        return answer

    def _plan_act(self, act: Act, turn: Turn, conversation: Conversation) -> Answer | None:
        rows = self._find_spoken_of(act, turn, conversation)
        if act.kind == "why":
            return self._tell_why(turn, rows, conversation)
        if act.kind == "drop":
            return self._drop_condition(act, turn, conversation)
        if act.kind in ("like", "dislike") and not rows:
            return None
        if act.kind == "like":
            for row in rows:
                conversation.like(row)
            before = conversation.wish or Wish()
            return self._rank(self._start(turn, "recommend"), replace(before, seeds=tuple(rows)), conversation)
        if act.kind == "dislike":
            return self._note_dislikes(turn, rows, conversation)
        if act.kind == "seen":
            for row in rows:
                conversation.mark_seen(row)
        wishes = self.wishes.read(act.rest or turn.text, () if act.rest else turn.mentions)
        if act.rest and not wishes.is_empty:
            return (
                None
                if act.kind != "seen"
                else self._plan_recommendation(replace(turn, mentions=()), wishes, conversation)
            )
        if conversation.wish is None and act.kind != "seen":
            return None  # "more" behind a question, or behind answers of an earlier run: more like the movie spoken of
        answer = self._start(turn, "recommend")
        if act.kind == "seen" and rows:
            named = ", ".join(clean_text(self.movies[row].label) for row in rows[:3])
            answer.preface = f"Noted, you know {named}."
        fallback = Wish(seeds=() if conversation.row is None else (conversation.row,))
        wish = conversation.wish or fallback
        rejected = tuple(row for row in rows if act.kind == "reject" and row not in wish.seeds)
        return self._rank(answer, replace(wish, excluded=(*wish.excluded, *rejected)), conversation)

    def _find_spoken_of(self, act: Act, turn: Turn, conversation: Conversation) -> list[int]:
        """Return the rows of the movies that an act speaks of."""
        if act.names_title:
            return list(dict.fromkeys(mention.rows[0] for mention in turn.mentions if mention.score >= SEED_SCORE))
        if act.places:
            return [conversation.listed[place] for place in act.places]
        single = re.search(r"\b(?:it|that|this)\b", turn.masked, re.I)
        several = re.search(r"\b(?:those|these|them|all)\b", turn.masked, re.I)
        if not conversation.lists_last and conversation.row is not None and not several:
            return [conversation.row]
        if act.kind in ("why", "like", "dislike") and single:
            return list(conversation.listed[:1])
        return list(conversation.listed)

    def _tell_why(self, turn: Turn, rows: Sequence[int], conversation: Conversation) -> Answer:
        shown = [row for row in rows if row in conversation.listed] or [
            row for row in rows if row in conversation.shown
        ]
        if not shown:
            return self._say(turn, "question", NOTHING_SHOWN)
        wish = conversation.wish or Wish()
        asked = conversation.last.query if conversation.last is not None else ""
        movies = [self.movies[row] for row in shown]
        beside = (
            f" beside {clean_text(join_names([self.movies[seed].label for seed in wish.seeds]))}" if wish.seeds else ""
        )
        fits = f". It fits what you asked for: {clean_text(wish.constraints.describe())}" if wish.constraints else ""
        lines = [
            f"I picked {clean_text(movie.label)}{beside}: {reason}{fits}."
            for movie, reason in zip(movies, self._explain(asked, movies, wish), strict=True)
        ]
        return self._start(turn, "question", shown[0], 1.0, "\n".join(lines))

    def tell_reasons(self, answer: Answer, movies: Sequence[Movie]) -> list[str]:
        """Return why each movie is recommended, a phrase each; see :class:`ReasonTeller`.

        Args:
            answer: to which they are recommended.
            movies: what is shown.
        """
        wish = answer.conversation.wish if answer.conversation is not None else None
        return self._explain(answer.query, movies, wish or Wish())

    def _explain(self, query: str, movies: Sequence[Movie], wish: Wish) -> list[str]:
        liked = [self.movies[seed] for seed in wish.seeds]
        # What was asked for in the turns before is no part of the query: "something newer".
        asked = f"{wish.constraints.describe()} {query}"
        return [self.reasons.tell(movie, liked, asked) for movie in movies]

    def _drop_condition(self, act: Act, turn: Turn, conversation: Conversation) -> Answer | None:
        wish = conversation.wish
        if wish is None:
            return None
        names = {
            "year": ("year_from", "year_to", "years", "without_years"),
            "genre": ("genres", "any_genres", "without_genres"),
            "length": ("runtime_at_most", "runtime_at_least"),
            "rating": ("rating_at_least", "rating_at_most"),
            "people": ("people", "without_people"),
            "origin": (),  # never a condition: nothing tells it
        }[act.fact]
        none = Constraints()
        free: Constraints = replace(wish.constraints, **{name: getattr(none, name) for name in names})
        return self._rank(self._start(turn, "recommend"), replace(wish, constraints=free), conversation)

    def _drop_genre(self, turn: Turn, conversation: Conversation) -> Answer | None:
        """Leave a genre out of the wish: "drop the horror"."""
        wish, found = conversation.wish, _DROPPED.fullmatch(turn.masked.strip())
        if wish is None or found is None:
            return None
        told = self.wishes.read(found["what"]).constraints
        asked = told.genres.union(*told.any_genres)
        had = wish.constraints
        left = replace(
            had,
            genres=had.genres - asked,
            any_genres=tuple(group for group in had.any_genres if not group & asked),
            without_genres=had.without_genres - asked,
        )
        if not asked or left == had:
            return None
        return self._rank(self._start(turn, "recommend"), replace(wish, constraints=left), conversation)

    def _take_director(self, turn: Turn, wishes: Wishes, conversation: Conversation) -> Wishes:
        """Read "more by him" of the movie spoken of, unless the wish before names people."""
        known = conversation.wish is not None and conversation.wish.constraints.people
        if conversation.row is None or wishes.constraints.people or known or not _BY_THEM.search(turn.masked):
            return wishes
        directors = self.movies[conversation.row].directors
        people = frozenset(Person(fold(name), "director", name) for name in directors)
        conversation.shown = [*conversation.shown, conversation.row]  # they know that one
        return replace(wishes, constraints=replace(wishes.constraints, people=(people,))) if people else wishes

    def _tell_tastes(self, conversation: Conversation) -> str:
        """Say what was noted of the person's tastes."""
        told = [
            f"{what}: {join_names([clean_text(self.movies[row].label) for row in rows])}"
            for what, rows in (
                ("You like", conversation.likes), ("You don't like", conversation.dislikes),
                ("You have seen", conversation.seen),
            )
            if rows
        ]  # fmt: skip
        return "\n".join(told) or "You haven't told me yet what you like. Name a movie that you loved, or hated."

    def _note_dislikes(self, turn: Turn, rows: Sequence[int], conversation: Conversation) -> Answer:
        for row in rows:
            conversation.dislike(row)
        preface = self._tell_dislikes(rows)
        wish = conversation.wish
        if wish is None:
            return self._say(turn, "recommend", f"{preface} What are you in the mood for?")
        answer = self._start(turn, "recommend")
        answer.preface = preface
        return self._rank(answer, replace(wish, seeds=tuple(s for s in wish.seeds if s not in rows)), conversation)

    def _tell_dislikes(self, rows: Sequence[int]) -> str:
        named = " and ".join(clean_text(self.movies[row].label) for row in rows)
        return f"Noted: nothing of {named} or what belongs to it."

    def _plan_follow_up(self, turn: Turn, conversation: Conversation) -> Answer | None:
        """Answer "and the second one?", "how long is the third", "what about Casino?"."""
        carries = _CARRIES.match(turn.masked) is not None and len(turn.masked.split()) <= _REFINING_WORDS
        places = () if turn.named else find_places(turn.text, len(conversation.listed))
        if len(places) == 1 and (turn.guess.intent == "question" or carries or is_asking(turn.masked)):
            row = conversation.listed[places[0]]
        elif carries and turn.named and conversation.question and not conversation.lists_last:
            if turn.found.row is None or self.wishes.read(turn.text, turn.mentions).constraints:
                return None
            row = turn.found.row
        else:
            return None
        movie = self.movies[row]
        question = turn.text
        if (carries and not is_asking(re.sub(_CARRIES, "", turn.masked, count=1))) and conversation.question:
            question = _name_movie(conversation.question, movie)  # the same question, of another movie
        else:
            conversation.question = turn.text if places else turn.masked
            question = _name_movie(turn.text, movie) if places else turn.text
        answer = self._start(turn, "question", row, 1.0)
        answer.prompt = render_question_prompt(question, movie)
        return answer

    def _plan_mixed(self, turn: Turn, conversation: Conversation) -> Answer | None:
        """Answer a turn that asks for a fact and for recommendations: the fact first, told from the catalogue."""
        asked = [
            clause
            for clause, guess in turn.clauses
            if guess.intent == "question" and guess.score >= _MIXED_SURE and is_asking(clause)
        ]
        wished = [
            clause
            for clause, guess in turn.clauses
            if guess.intent == "recommend" and guess.score >= _MIXED_SURE and is_request(clause) and clause not in asked
        ]
        if not asked or not wished:
            return None
        row, score = self._find_movie(turn, "question", conversation)
        if row is None:
            return None
        wishes = self.wishes.read(turn.text, turn.mentions)
        if not wishes.liked:
            wishes = replace(wishes, liked=(row,))
        # The years and people of the question are no conditions of the wish.
        own = self.wishes.read(" ".join(wished))
        answer = self._start(turn, "recommend", row, score)
        answer.preface = tell_fact(" ".join(asked), self.movies[row])
        wish = Wish(own.rest, wishes.liked, own.constraints, own.moods, wishes.excluded, turn.vector)
        if own.comparisons:
            wish = replace(wish, constraints=wish.constraints.refine(compare(own.comparisons, [self.movies[row]])))
        return self._rank(answer, wish, conversation)

    # Parts.

    def _start(self, turn: Turn, intent: Intent, row: int | None = None, score: float = 0.0, text: str = "") -> Answer:
        # A recalled movie stands nowhere in the query, but is the likeliest all the same.
        meant = list(dict.fromkeys(turn.found.rows if row is None else (row, *turn.found.rows)))
        return Answer(
            turn.text,
            intent,
            movie=None if row is None else self.movies[row],
            movie_score=score,
            movie_candidates=[self.movies[candidate] for candidate in meant[:MAX_CANDIDATES]],
            answer=text,
        )

    def _say(self, turn: Turn, intent: Intent, text: str) -> Answer:
        return self._start(turn, intent, text=text)

    @cached_property
    def _groups(self) -> dict[str, str]:
        return group_movies(self.movies)

    @cached_property
    def _series(self) -> dict[str, set[int]]:
        rows: dict[str, set[int]] = defaultdict(set)
        for row, movie in enumerate(self.movies):
            rows[self._groups[movie.tconst]].add(row)
        return rows


def _name_movie(question: str, movie: Movie) -> str:
    """Put a movie in the place of what a question speaks of: its title masked, its place in a list, or "it"."""
    label = clean_text(movie.label)
    if MASK in question:
        return question.replace(MASK, label)
    placed = re.sub(
        r"\b(?:the )?(?:first|1st|second|2nd|third|3rd|last|latter|former|middle|number (?:one|two|"
        r"three|[1-3]))\b(?: (?:one|movie|film))?",
        lambda _: label,
        question,
        count=1,
        flags=re.I,
    )
    if placed != question:
        return placed
    return re.sub(r"\b(?:it|that one|this one|that|this)\b", lambda _: label, question, count=1, flags=re.I)
