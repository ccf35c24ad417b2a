"""A conversation in the terminal, streamed; or, where standard input is no terminal, answers to its lines."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from rich.console import Console

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import Movie
from moviebot.errors import UserError
from moviebot.rag.answer import HELP, Answer, Query, check_query
from moviebot.rag.bundle import load_bundle
from moviebot.rag.checks import strip_controls
from moviebot.rag.conversation import Conversation
from moviebot.rag.language_model import load_language_model
from moviebot.rag.lookup import open_lookup
from moviebot.rag.pipeline import MovieBot
from moviebot.rag.profile import Profile, read_profile, write_profile
from moviebot.rag.wording import tell_source

_COMMANDS = {
    "/help": "shows this",
    "/restart": "forgets the conversation; likes and dislikes stay",
    "/why": "tells why the last movies were recommended",
    "/seen": "[number or title] you know that movie: it is not recommended again",
    "/like": "[number or title] you like that movie",
    "/dislike": "[number or title] you do not: it is not recommended",
    "/save": "FILE writes your likes and dislikes, for `moviebot chat --profile FILE`",
    "/exit": "leaves (so does Ctrl-D); Ctrl-C stops an answer",
}
_ALIASES = {"/new": "/restart", "/quit": "/exit", "/?": "/help"}
_ABOUT_A_MOVIE = ("/seen", "/like", "/dislike")
_CONVERSATION = "chat"
_MAX_COMPLETIONS = 20


def chat(
    bundle: Path,
    no_llm: bool = False,
    llm: str | None = None,
    llm_model: str | None = None,
    lookup: tuple[str, ...] = (),
    lookup_cache: Path | None = None,
    contact: str | None = None,
    profile: Path | None = None,
    history: Path | None = None,
) -> None:
    """Talk to a bundle in the terminal.

    Args:
        bundle: a bundle's folder.
        no_llm: answer without the language model: only movies found and recommendations are shown.
        llm: ask an OpenAI-compatible endpoint at this address (http://localhost:8000/v1) instead of the bundle's own
            model; a key is read from the environment variable MOVIEBOT_LLM_API_KEY.
        llm_model: the model's name there.
        lookup: wikipedia, tmdb or both, asked for the story of a movie that has none in the catalogue; nobody by
            default.
        lookup_cache: the folder where what they said is kept; by default one in your cache.
        contact: your e-mail address or page, told to them.
        profile: likes and dislikes to begin with, a file that /save wrote.
        history: keep the lines typed in this file, to be recalled with the arrow keys the next time; kept nowhere
            by default.

    Raises:
        UserError: the bundle, the profile or the history can't be read, or the endpoint does not answer.
    """
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    known = read_profile(profile) if profile is not None else Profile()
    typed = _open_history(history)
    stories = open_lookup(lookup, lookup_cache, contact)
    loaded = load_bundle(bundle)
    with Console(stderr=True).status("Loading the models"):
        generator = load_language_model(loaded, no_llm, llm, llm_model)
        bot = MovieBot(loaded, generator, stories)
    if sys.stdin.isatty():
        _say(console, _tell_help())
        run_chat(bot, console, _read_prompt(bot, typed), known)
    else:
        if isinstance(sys.stdin, io.TextIOWrapper):  # bytes that are no UTF-8 make one bad line, not an end
            sys.stdin.reconfigure(errors="surrogateescape")
        run_chat(bot, console, (line.rstrip("\n") for line in sys.stdin), known)


def run_chat(bot: MovieBot, console: Console, lines: Iterator[str], profile: Profile | None = None) -> None:
    """Answer lines until there are no more, or ``/exit``.

    Args:
        bot: answers them, as one conversation.
        console: where the answers go.
        lines: the person's words.
        profile: likes and dislikes to begin with.
    """
    session = ChatSession(bot, console, profile or Profile())
    for line in lines:
        try:
            if not session.take(line.strip()):
                return
        except KeyboardInterrupt:  # what was under way is cut short; the conversation goes on
            _say(console, " (stopped)")


class ChatSession:
    """One person at one terminal.

    Args:
        bot: answers.
        console: where the answers go.
        profile: likes and dislikes to begin with; ids that the catalogue lacks are kept for the next /save.
    """

    def __init__(self, bot: MovieBot, console: Console, profile: Profile) -> None:
        self.bot = bot
        self.console = console
        self.profile = profile
        self.turn = 0
        self.listed: Answer | None = None  # the last answer with recommendations
        self._row_of = {movie.tconst: row for row, movie in enumerate(bot.movies)}
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": self._help, "/restart": self._restart, "/why": self._why, "/seen": self._mark_seen,
            "/like": self._like, "/dislike": self._dislike, "/save": self._save,
        }  # fmt: skip
        self._open_profile()

    @property
    def conversation(self) -> Conversation:
        """The thread that is being spoken in."""
        return self.bot.conversations.get(f"{_CONVERSATION}{self.turn}")

    def take(self, line: str) -> bool:
        """Answer one line; return whether the chat goes on."""
        if not line:
            return True
        if not line.startswith("/"):
            self._reply(line)
            return True
        word, _, rest = line.partition(" ")
        name = _ALIASES.get(word.lower(), word.lower())
        if name == "/exit":
            return False
        command = self._commands.get(name)
        try:
            if command is None:
                raise UserError(f"There is no command {clean_text(word, 40)}: /help lists them.")
            command(rest.strip())
        except UserError as error:
            _say(self.console, str(error))
        return True

    def _open_profile(self) -> None:
        likes, dislikes = self.profile.likes, self.profile.dislikes
        absent = [tconst for tconst in (*likes, *dislikes) if tconst not in self._row_of]
        for tconst in likes:
            if tconst in self._row_of:
                self.conversation.like(self._row_of[tconst])
        for tconst in dislikes:
            if tconst in self._row_of:
                self.conversation.dislike(self._row_of[tconst])
        if likes or dislikes:
            lacking = f"; {len(absent)} of them are not in this catalogue" if absent else ""
            _say(self.console, f"Your profile: {len(likes)} likes, {len(dislikes)} dislikes{lacking}.")

    def _reply(self, text: str) -> None:
        try:
            check_query(text)
        except UserError as error:
            _say(self.console, str(error))
            return
        [answer] = self.bot.prepare([Query(text, f"{_CONVERSATION}{self.turn}")])
        written = ""
        for piece in self.bot.complete(answer):
            written += piece
            _say(self.console, piece, end="")
            self.console.file.flush()
        if answer.recommendations:
            self.listed = answer
        self._show_text(answer, written)

    def _show_text(self, answer: Answer, written: str) -> None:
        final = answer.answer or (_say_what_was_found(answer) if not written.strip() else "")
        if not written.strip():
            _say(self.console, final)
        elif final.strip() in ("", written.strip()):
            _say(self.console, "")
        else:  # the checks found something else to say
            _say(self.console, f"\nOr rather: {final}")
        if not answer.grounded:
            self.console.print("[dim](not all of this is in my catalogue)[/dim]")
        if answer.intent == "question" and answer.movie is not None:
            self._whisper(tell_source(answer.movie, answer.looked_up))

    def _whisper(self, text: str) -> None:
        self.console.print(strip_controls(text), style="dim", markup=False, emoji=False, highlight=False)

    def _help(self, _: str) -> None:
        _say(self.console, _tell_help())

    def _restart(self, _: str) -> None:
        before = self.conversation
        self.turn += 1
        self.listed = None
        for row in before.likes:
            self.conversation.like(row)
        for row in before.dislikes:
            self.conversation.dislike(row)
        _say(self.console, "A new conversation.")

    def _why(self, _: str) -> None:
        if self.listed is None:
            raise UserError('Nothing was recommended yet: ask for something, such as "movies like Heat".')
        seed = self.listed.movie
        listed = zip(self.listed.recommendations, self.listed.reasons, strict=True)
        for number, (movie, reason) in enumerate(listed, start=1):
            _say(self.console, f"  {number}. {clean_text(movie.label)}: {reason}")
            self._whisper(f"     {tell_source(movie)}")
        liked = f" beside {clean_text(seed.label)}" if seed else ""
        _say(self.console, f"I chose them among {len(self.listed.candidates)} movies of my catalogue{liked}.")

    def _mark_seen(self, words: str) -> None:
        row = self._find_movie(words)
        self.conversation.mark_seen(row)
        _say(self.console, f"You have seen {self._label(row)}: it will not be recommended.")

    def _like(self, words: str) -> None:
        row = self._find_movie(words)
        self.conversation.like(row)
        _say(self.console, f"You like {self._label(row)}.")

    def _dislike(self, words: str) -> None:
        row = self._find_movie(words)
        self.conversation.dislike(row)
        _say(self.console, f"You do not like {self._label(row)}: it will not be recommended.")

    def _save(self, words: str) -> None:
        if not words:
            raise UserError("/save needs a file's name, for example /save me.json")
        likes, dislikes = (
            [self.bot.movies[row].tconst for row in rows]
            for rows in (self.conversation.likes, self.conversation.dislikes)
        )
        likes += [tconst for tconst in self.profile.likes if tconst not in self._row_of]
        dislikes += [tconst for tconst in self.profile.dislikes if tconst not in self._row_of]
        write_profile(Path(words).expanduser(), Profile(likes, dislikes))
        _say(self.console, f"Wrote {len(likes)} likes and {len(dislikes)} dislikes to {words}.")

    def _find_movie(self, words: str) -> int:
        """Return the row of the movie meant: a number of the last list, a title, or the movie spoken of.

        Raises:
            UserError: there is none, or it is in doubt.
        """
        if not words:
            if self.conversation.row is None:
                raise UserError("Which movie? Give its number in my last list, or its title.")
            return self.conversation.row
        listed = self.listed.recommendations if self.listed else []
        if words.isdecimal() and len(words) < 4 and 1 <= int(words) <= len(listed):  # though a film may be called "1"
            return self._row_of[listed[int(words) - 1].tconst]
        exact = [row for row, movie in enumerate(self.bot.movies) if words.casefold() in _names(movie)]
        if len(exact) == 1:
            return exact[0]
        if words.isdecimal() and len(words) < 4 and not exact:
            raise UserError(f"My last list has {len(listed)} movies: there is no number {int(words)}.")
        check_query(words)
        if exact:
            labels = " or ".join(self._label(row) for row in exact[:5])
            raise UserError(f"Which one: {labels}? Give the year too.")
        found = self.bot.resolver.resolve([words])[0]
        if found.row is None:
            raise UserError(
                f"I found no movie {clean_text(words, 80)} in my catalogue: give its title as it is written."
            )
        return found.row

    def _label(self, row: int) -> str:
        return clean_text(self.bot.movies[row].label)


class ChatCompleter(Completer):
    """Completes commands, and behind those about a movie its title.

    Args:
        movies: the catalogue.
    """

    def __init__(self, movies: Iterable[Movie]) -> None:
        famous = sorted(movies, key=lambda movie: -(movie.votes or 0))
        self._labels = [clean_text(movie.label) for movie in famous]

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Yield what the line may be continued with."""
        line = document.text_before_cursor
        word, space, rest = line.partition(" ")
        if line.startswith("/") and not space:
            for name in _COMMANDS:
                if name.startswith(word.lower()):
                    yield Completion(name, -len(word), display_meta=_COMMANDS[name])
        elif word in _ABOUT_A_MOVIE and rest:
            fitting = (label for label in self._labels if label.casefold().startswith(rest.casefold()))
            for label, _ in zip(fitting, range(_MAX_COMPLETIONS), strict=False):
                yield Completion(label, -len(rest))


def _names(movie: Movie) -> set[str]:
    return {movie.title.casefold(), movie.label.casefold(), clean_text(movie.label).casefold()}


def _tell_help() -> str:
    width = max(map(len, _COMMANDS))
    return "\n".join([HELP, *(f"  {name:<{width}}  {what}" for name, what in _COMMANDS.items())])


def _say(console: Console, text: str, end: str = "\n") -> None:
    """Print text that is not ours: no markup, no emoji codes, nothing that the terminal would obey."""
    console.print(strip_controls(text), end=end, markup=False, emoji=False, highlight=False)


def _say_what_was_found(answer: Answer) -> str:
    return f"That is about {clean_text(answer.movie.label)}." if answer.movie else HELP


def _open_history(path: Path | None) -> History:
    if path is None:
        return InMemoryHistory()
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--history {path} is a folder or stands in none: give a file's name")
    return FileHistory(path)


def _read_prompt(bot: MovieBot, history: History) -> Iterator[str]:
    session: PromptSession[str] = PromptSession(history=history, completer=ChatCompleter(bot.movies))
    while True:
        try:
            yield session.prompt("you> ")
        except KeyboardInterrupt:  # clears the line, as shells do
            continue
        except EOFError:
            return
