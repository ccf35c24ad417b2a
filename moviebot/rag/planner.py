"""What to do with a turn: which movie it is about, what it asks for, and what the conversation makes of it.

A plan is an :class:`~moviebot.rag.answer.Answer` with everything but the text that a language model may still write.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from moviebot.data.prompts import clean_text, render_question_prompt
from moviebot.data.schemas import Movie
from moviebot.rag.answer import NOT_FOUND, START_OVER, Answer, ask_which, frame
from moviebot.rag.answer_maker import AnswerMaker
from moviebot.rag.candidates import CandidateRanker
from moviebot.rag.clauses import is_asking, is_request
from moviebot.rag.constraints import Person
from moviebot.rag.conversation import Conversation, Wish
from moviebot.rag.dialogue_acts import is_yes, read_act
from moviebot.rag.fact_line import tell_fact
from moviebot.rag.follow_ups import FollowUps, asks_for_tastes
from moviebot.rag.intent import Intent
from moviebot.rag.resolver import SURE
from moviebot.rag.small_talk import reply
from moviebot.rag.turn import Turn
from moviebot.rag.wishes import Wishes, WishReader, compare
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
# "movies like Heat" says what to look for, not that the person liked it.
_PRAISES = re.compile(
    r"\b(?:loved?|liked|i(?: really| also| do)? like|enjoy(?:ed)?|adored?|favou?rites?|fan of|"
    r"(?:is|was|were)(?: so| really| just| absolutely)? (?:great|amazing|brilliant|fantastic|wonderful))\b",
    re.I,
)
_SEEN = re.compile(r"\b(?:i|we)(?:'ve| have)?(?: already| just| only| also)? (?:seen|watched|saw)\b", re.I)
_BOTH = re.compile(r"\b(?:like|similar to|love[d]?|liked|between|mix of) (?:both|them both|the two|those two)\b", re.I)
_BY_THEM = re.compile(
    r"\b(?:by|from) (?:him|her|them|that (?:guy|director)|the same (?:guy|director|person|man|woman))\b|"
    r"\b(?:same|that) director\b",
    re.I,
)
_MOVIES_OF = re.compile(r"\b(?:what|how) about\b.*\b(?:movies|films|flicks|comedies|dramas|thrillers|westerns)\b", re.I)
_RELATIVE = re.compile(r"\b(?:sequels?|prequels?|remakes?|spin-?offs?|follow-?ups?)\b", re.I)
_HOLDS_UP = re.compile(
    r"\b(?:like|love[ds]?|liked|similar|fan|enjoyed|watched|seen|saw|adored?|favou?rites?|after|resembl\w+|same)\b",
    re.I,
)


class Planner:
    """Plans answers.

    Args:
        movies: the catalogue.
        ranker: ranks it for a wish.
        wishes: reads wishes.
    """

    def __init__(self, movies: Sequence[Movie], ranker: CandidateRanker, wishes: WishReader) -> None:
        self.movies = movies
        self.wishes = wishes
        self.make = AnswerMaker(movies, ranker)
        self.follow_ups = FollowUps(self.make, wishes, self._plan_recommendation)

    def plan(self, turn: Turn, conversation: Conversation) -> Answer:
        """Return the answer to a turn; what the turn tells of the person's wishes and tastes is noted."""
        if conversation.choices and (chosen := self.follow_ups.plan_choice(turn, conversation)) is not None:
            return chosen
        conversation.choices = ()
        offered, conversation.offered = conversation.offered, None
        if offered is not None and is_yes(turn.text):
            return self.make.rank(self.make.start(turn, "recommend"), offered, conversation)
        if (corrected := self.follow_ups.plan_namesake(turn, conversation)) is not None:
            return corrected
        if asks_for_tastes(turn.text):
            return self.make.say(turn, "other", self.follow_ups.tell_tastes(conversation))
        if (dropped := self.follow_ups.drop_genre(turn, conversation)) is not None:
            return dropped
        act = read_act(turn.masked, len(conversation.listed))
        if act is not None and act.kind == "restart":
            conversation.start_over()
            if not act.rest.strip():
                return self.make.say(turn, "other", START_OVER)
            act = None
        if act is not None and (done := self.follow_ups.plan_act(act, turn, conversation)) is not None:
            return done
        if (followed := self.follow_ups.plan_follow_up(turn, conversation)) is not None:
            return followed
        if (mixed := self._plan_mixed(turn, conversation)) is not None:
            return mixed
        return self._plan_by_intent(turn, conversation)

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
            return self.follow_ups.note_dislikes(turn, wishes.disliked, conversation)
        if intent == "recommend":
            return self._plan_recommendation(turn, wishes, conversation)
        if intent == "other":
            return self.make.start(turn, intent, turn.found.row if turn.named else None, text=reply(turn.text))
        row, score = self._find_movie(turn, intent, conversation)
        answer = self.make.start(turn, intent, row, score)
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
        answer = self.make.start(turn, "recommend", None, score if wish.seeds else 0.0)
        answer.notes = list(wishes.notes)
        if wishes.disliked:
            answer.preface = self.follow_ups.tell_dislikes(wishes.disliked)
        if wishes.strangers:
            names = " or ".join(clean_text(name) for name in wishes.strangers)
            answer.answer = frame(answer, f"I know no movie with {names} in my catalogue.")
            answer.abstained = True
            conversation.wish = wish
            return answer
        return self.make.rank(answer, wish, conversation)

    def _take_director(self, turn: Turn, wishes: Wishes, conversation: Conversation) -> Wishes:
        """Read "more by him" of the movie spoken of, unless the wish before names people."""
        known = conversation.wish is not None and conversation.wish.constraints.people
        if conversation.row is None or wishes.constraints.people or known or not _BY_THEM.search(turn.masked):
            return wishes
        directors = self.movies[conversation.row].directors
        people = frozenset(Person(fold(name), "director", name) for name in directors)
        conversation.shown = [*conversation.shown, conversation.row]  # they know that one
        return replace(wishes, constraints=replace(wishes.constraints, people=(people,))) if people else wishes

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
        answer = self.make.start(turn, "recommend", row, score)
        answer.preface = tell_fact(" ".join(asked), self.movies[row])
        wish = Wish(own.rest, wishes.liked, own.constraints, own.moods, wishes.excluded, turn.vector)
        if own.comparisons:
            wish = replace(wish, constraints=wish.constraints.refine(compare(own.comparisons, [self.movies[row]])))
        return self.make.rank(answer, wish, conversation)
