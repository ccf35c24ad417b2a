"""Turns that refer to those before: "the second one", "seen it", "why that one?", "and Casino?", "the older one"."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from moviebot.data.prompts import clean_text, render_question_prompt
from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.data.template_teacher import join_names
from moviebot.rag.answer import NOT_FOUND, NOTHING_SHOWN, Answer
from moviebot.rag.answer_maker import AnswerMaker
from moviebot.rag.clauses import is_asking
from moviebot.rag.constraints import Constraints
from moviebot.rag.conversation import Conversation, Wish
from moviebot.rag.dialogue_acts import Act, find_places, is_no, pick_choice
from moviebot.rag.intent import MASK
from moviebot.rag.turn import Turn
from moviebot.rag.wishes import SEED_SCORE, Wishes, WishReader

_FEW_WORDS = 8
_CARRIES = re.compile(
    r"\s*(?:and|what about|how about|and what about|and how about|same (?:question )?for|or|and for|and in)\b", re.I
)
_OTHER_ONE = re.compile(r"\b(?:the|no|not)\b.*\b(?:one|original|remake|version|film|movie|other|older|newer)\b", re.I)
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


class FollowUps:
    """Answers turns that refer to those before; None where a turn does not.

    Args:
        make: makes the answers.
        wishes: reads wishes.
        recommend: plans the answer to a wish.
    """

    def __init__(
        self, make: AnswerMaker, wishes: WishReader, recommend: Callable[[Turn, Wishes, Conversation], Answer]
    ) -> None:
        self.make = make
        self.movies = make.movies
        self.wishes = wishes
        self.recommend = recommend

    def plan_choice(self, turn: Turn, conversation: Conversation) -> Answer | None:
        """Answer what was in doubt, once the person says which movie they meant."""
        choices = conversation.choices
        place = pick_choice(turn.text, [self.movies[row] for row in choices])
        if place is None:
            if is_no(turn.text):
                conversation.choices = ()
                answer = self.make.say(turn, "question", NOT_FOUND)
                answer.abstained = True
                return answer
            return None
        if turn.named and turn.found.row not in choices:
            return None
        answer = self.make.start(turn, "question", choices[place], 1.0)
        answer.prompt = render_question_prompt(conversation.pending, self.movies[choices[place]])
        conversation.choices, conversation.question = (), conversation.pending
        return answer

    def plan_namesake(self, turn: Turn, conversation: Conversation) -> Answer | None:
        """Answer the last question of another movie of the same title: "no, the 1990 one", "the original"."""
        row = conversation.row
        if row is None or conversation.lists_last or not conversation.question or not _OTHER_ONE.search(turn.text):
            return None
        title = normalise_title(self.movies[row].title)
        namesakes = [n for n, movie in enumerate(self.movies) if normalise_title(movie.title) == title]
        place = pick_choice(turn.text, [self.movies[n] for n in namesakes]) if len(namesakes) > 1 else None
        if place is None or len(turn.text.split()) > _FEW_WORDS:
            return None
        answer = self.make.start(turn, "question", namesakes[place], 1.0)
        movie = self.movies[namesakes[place]]
        answer.prompt = render_question_prompt(_name_movie(conversation.question, movie), movie)
        return answer

    def plan_act(self, act: Act, turn: Turn, conversation: Conversation) -> Answer | None:
        """Do what a turn says of the movies shown: seen, liked, disliked, not that one, why, more."""
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
            return self.make.rank(self.make.start(turn, "recommend"), replace(before, seeds=tuple(rows)), conversation)
        if act.kind == "dislike":
            return self.note_dislikes(turn, rows, conversation)
        if act.kind == "seen":
            for row in rows:
                conversation.mark_seen(row)
        wishes = self.wishes.read(act.rest or turn.text, () if act.rest else turn.mentions)
        if act.rest and not wishes.is_empty:
            return None if act.kind != "seen" else self.recommend(replace(turn, mentions=()), wishes, conversation)
        if conversation.wish is None and act.kind != "seen":
            return None  # "more" behind a question, or behind answers of an earlier run: more like the movie spoken of
        answer = self.make.start(turn, "recommend")
        if act.kind == "seen" and rows:
            named = ", ".join(clean_text(self.movies[row].label) for row in rows[:3])
            answer.preface = f"Noted, you know {named}."
        fallback = Wish(seeds=() if conversation.row is None else (conversation.row,))
        wish = conversation.wish or fallback
        rejected = tuple(row for row in rows if act.kind == "reject" and row not in wish.seeds)
        return self.make.rank(answer, replace(wish, excluded=(*wish.excluded, *rejected)), conversation)

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
            return self.make.say(turn, "question", NOTHING_SHOWN)
        wish = conversation.wish or Wish()
        asked = conversation.last.query if conversation.last is not None else ""
        movies = [self.movies[row] for row in shown]
        beside = (
            f" beside {clean_text(join_names([self.movies[seed].label for seed in wish.seeds]))}" if wish.seeds else ""
        )
        fits = f". It fits what you asked for: {clean_text(wish.constraints.describe())}" if wish.constraints else ""
        lines = [
            f"I picked {clean_text(movie.label)}{beside}: {reason}{fits}."
            for movie, reason in zip(movies, self.make.explain(asked, movies, wish), strict=True)
        ]
        return self.make.start(turn, "question", shown[0], 1.0, "\n".join(lines))

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
        return self.make.rank(self.make.start(turn, "recommend"), replace(wish, constraints=free), conversation)

    def drop_genre(self, turn: Turn, conversation: Conversation) -> Answer | None:
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
        return self.make.rank(self.make.start(turn, "recommend"), replace(wish, constraints=left), conversation)

    def tell_tastes(self, conversation: Conversation) -> str:
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

    def note_dislikes(self, turn: Turn, rows: Sequence[int], conversation: Conversation) -> Answer:
        """Note movies that the person dislikes, and recommend others where something was wished for."""
        for row in rows:
            conversation.dislike(row)
        preface = self.tell_dislikes(rows)
        wish = conversation.wish
        if wish is None:
            return self.make.say(turn, "recommend", f"{preface} What are you in the mood for?")
        answer = self.make.start(turn, "recommend")
        answer.preface = preface
        return self.make.rank(answer, replace(wish, seeds=tuple(s for s in wish.seeds if s not in rows)), conversation)

    def tell_dislikes(self, rows: Sequence[int]) -> str:
        """Say which dislikes were noted."""
        named = " and ".join(clean_text(self.movies[row].label) for row in rows)
        return f"Noted: nothing of {named} or what belongs to it."

    def plan_follow_up(self, turn: Turn, conversation: Conversation) -> Answer | None:
        """Answer "and the second one?", "how long is the third", "what about Casino?"."""
        carries = _CARRIES.match(turn.masked) is not None and len(turn.masked.split()) <= _FEW_WORDS
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
        answer = self.make.start(turn, "question", row, 1.0)
        answer.prompt = render_question_prompt(question, movie)
        return answer


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


def asks_for_tastes(text: str) -> bool:
    """Say whether a person asks what was noted of their tastes."""
    return _TASTES.fullmatch(text.strip()) is not None
