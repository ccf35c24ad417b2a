import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from rich.console import Console

from moviebot.errors import UserError
from moviebot.rag.answer import Answer
from moviebot.rag.bundle import load_bundle
from moviebot.rag.chat import ChatCompleter, chat, run_chat
from moviebot.rag.pipeline import MovieBot
from moviebot.rag.profile import Profile, read_profile, write_profile
from tests.rag.conftest import ScriptedGenerator


def talk(bundle_folder: Path, lines: list[str]) -> str:
    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: "Olga [Sidorova]"))
    out = io.StringIO()
    run_chat(bot, Console(file=out, highlight=False, soft_wrap=True), iter(lines))
    return out.getvalue()


def test_answers_follow_ups_and_commands(bundle_folder: Path) -> None:
    text = talk(
        bundle_folder,
        ["/help", "", "who directed Winter Wheat?", "movies like Night Ferry", "/dance", "/new", "/exit", "hello"],
    )
    assert "/dislike" in text
    assert "leaves (so does Ctrl-D)" in text
    assert "Olga[Sidorova]" in text  # brackets of the model are text, not markup
    assert "If you liked Night Ferry (1962)" in text
    assert "no command /dance" in text
    assert "I can answer" in text.split("\n")[0]
    assert text.count("I can answer") == 1  # nothing after /exit


def test_a_query_too_long_ends_nothing(bundle_folder: Path) -> None:
    text = talk(bundle_folder, ["word " * 10_000, "hello"])
    assert "at most 2,000" in text
    assert "I can answer" in text


def test_reads_a_pipe(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("movies like Night Ferry\nhello\n"))
    chat(bundle_folder, no_llm=True)
    out = capsys.readouterr().out
    assert "If you liked Night Ferry (1962)" in out
    assert "I can answer" in out


def test_nothing_reaches_the_terminal_as_a_command(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    hostile = "\x1b]0;mine\x07Winter\u202e Wheat [bold]:smile:"
    bundle.movies[9] = replace(bundle.movies[9], title=hostile)
    lines = ["who directed Winter Wheat (2014)?", "movies like Winter Wheat (2014)", "/da\x1b[2Jnce"]
    for bot in (MovieBot(bundle, ScriptedGenerator(lambda prompt: f"{hostile}\x9b2J")), MovieBot(bundle)):
        bot.movies = bundle.movies
        out = io.StringIO()
        run_chat(bot, Console(file=out, highlight=False, soft_wrap=True), iter(lines))
        text = out.getvalue()
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
        assert "[bold]:smile:" in text
        assert "\nIf you liked ]0;mine Winter Wheat [bold]:smile:" in text.replace("  ", " ")


def test_an_answer_that_was_stopped_is_not_remembered_as_shown(bundle_folder: Path) -> None:
    def stop(prompt: str) -> str:
        raise KeyboardInterrupt

    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(stop))
    run_chat(bot, Console(file=io.StringIO()), iter(["movies like Night Ferry"]))
    assert bot.conversations.get("chat0").shown == []
    assert bot.conversations.get("chat0").row == 3


def test_likes_dislikes_and_seen_are_kept_and_saved(bundle_folder: Path, tmp_path: Path) -> None:
    bot = MovieBot(load_bundle(bundle_folder))
    out = io.StringIO()
    lines = ["/like", "movies like Night Ferry", "/dislike 1", "/seen 2", "/like Winter Wheat", "/like The Red Lantern"]
    lines += ["/like Zzyzx Quorvle", "/like 9", f"/save {tmp_path / 'me.json'}", "/restart", "movies like Night Ferry"]
    run_chat(bot, Console(file=out, soft_wrap=True), iter(lines))
    text = out.getvalue()
    assert "Which movie? Give its number" in text
    first, second = (part.splitlines()[1:4] for part in text.split("you could watch:")[1:])
    assert [line[:3] for line in first] == ["1. ", "2. ", "3. "]
    disliked = first[0][3:].partition(" (")[0]
    assert f"You do not like {disliked}" in text
    assert "You have seen" in text
    assert "You like Winter Wheat (2014)." in text
    assert "Which one: The Red Lantern (1931) or The Red Lantern (1987)?" in text
    assert "I found no movie Zzyzx Quorvle" in text
    assert "there is no number 9" in text
    saved = json.loads((tmp_path / "me.json").read_text())
    assert saved["likes"] == [bot.movies[9].tconst]
    assert [next(movie.title for movie in bot.movies if movie.tconst == one) for one in saved["dislikes"]] == [disliked]
    assert not any(disliked in line for line in second)  # after /restart too
    assert bot.conversations.get("chat1").likes == [9]


def test_why_tells_the_reasons_or_what_is_shared(bundle_folder: Path) -> None:
    text = talk(bundle_folder, ["/why", "movies like Night Ferry", "/WHY"])
    assert "Nothing was recommended yet" in text
    why = text[text.rindex("  1. ") :]
    assert "also directed by Ida Crane" in text
    assert "https://www.imdb.com/title/tt" in why
    assert "movies of my catalogue beside Night Ferry (1962)" in why


def test_a_profile_is_read_and_what_is_not_of_this_catalogue_is_kept(bundle_folder: Path, tmp_path: Path) -> None:
    bot = MovieBot(load_bundle(bundle_folder))
    out = io.StringIO()
    profile = Profile(likes=[bot.movies[3].tconst, "tt9999999"], dislikes=[bot.movies[2].tconst])
    path = tmp_path / "me.json"
    lines = ["movies like Night Ferry", f"/save {path}"]
    run_chat(bot, Console(file=out, soft_wrap=True), iter(lines), profile)
    assert "2 likes, 1 dislikes; 1 of them are not in this catalogue" in out.getvalue()
    assert "Harbour Lights (1954)" not in out.getvalue()
    assert read_profile(path) == profile


def test_save_replaces_a_profile_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "thesis.txt"
    other.write_text("keep")
    with pytest.raises(UserError, match="is no profile: give another name"):
        write_profile(other, Profile())
    assert other.read_text() == "keep"
    write_profile(tmp_path / "me.json", Profile(["tt1"]))
    write_profile(tmp_path / "me.json", Profile(["tt2"]))
    assert read_profile(tmp_path / "me.json").likes == ["tt2"]
    with pytest.raises(UserError, match="can't be written"):
        write_profile(Path("/proc/nowhere/me.json"), Profile())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2}',
        '{"format": 1, "likes": "tt1", "dislikes": []}',
        '{"format": 1, "likes": [1], "dislikes": []}',
    ],
)
def test_a_bad_profile_is_one_line_before_anything_is_loaded(text: str, tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"me.json"):
        chat(tmp_path / "no bundle", profile=path)
    with pytest.raises(UserError, match="is not there"):
        chat(tmp_path / "no bundle", profile=tmp_path / "absent.json")
    with pytest.raises(UserError, match="--history"):
        chat(tmp_path / "no bundle", history=tmp_path)


def test_ctrl_c_stops_an_answer_and_not_the_chat(bundle_folder: Path) -> None:
    class Interrupted(ScriptedGenerator):
        def stream(self, prompt: str) -> Iterator[str]:
            yield "It was "
            raise KeyboardInterrupt

    out = io.StringIO()
    bot = MovieBot(load_bundle(bundle_folder), Interrupted(str))
    run_chat(bot, Console(file=out, soft_wrap=True), iter(["who directed Winter Wheat?", "hello"]))
    assert "It was  (stopped)" in out.getvalue()
    assert "I can answer" in out.getvalue()


def test_what_the_checks_put_in_the_place_of_an_answer_is_told(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: "It was Alan Smithee."))

    def finish(answer: Answer, response: str) -> None:
        answer.answer = "Olga Sidorova directed it."

    monkeypatch.setattr(bot, "finish", finish)
    out = io.StringIO()
    run_chat(bot, Console(file=out, soft_wrap=True), iter(["who directed Winter Wheat?"]))
    assert "Or rather: Olga Sidorova directed it." in out.getvalue()


def test_commands_and_titles_are_completed(bundle_folder: Path) -> None:
    completer = ChatCompleter(load_bundle(bundle_folder).movies)

    def complete(line: str) -> list[str]:
        return [one.text for one in completer.get_completions(Document(line), CompleteEvent())]

    assert complete("/s") == ["/seen", "/save"]
    assert complete("/like the red") == ["The Red Lantern (1987)", "The Red Lantern (1931)"]
    assert complete("who directed the red") == []


def test_bytes_that_are_no_text_make_one_bad_line(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"who \xff\xfe?\nhello\n"), encoding="utf-8"))
    chat(bundle_folder, no_llm=True)
    out = capsys.readouterr().out
    assert "not valid Unicode" in out
    assert "I can answer" in out


def test_a_number_is_of_the_list_though_a_film_is_called_so(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    bundle.movies[10] = replace(bundle.movies[10], title="1")
    out = io.StringIO()
    run_chat(
        MovieBot(bundle), Console(file=out, soft_wrap=True), iter(["/seen 1", "movies like Night Ferry", "/like 1"])
    )
    text = out.getvalue()
    assert "You have seen 1 (2017)" in text  # no list yet: the film
    listed = text.split("\n1. ")[1].partition(" (")[0]
    assert f"You like {listed}" in text
