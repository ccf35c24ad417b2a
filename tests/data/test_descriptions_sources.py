"""Each source against a server that answers in its service's real shape, faults included."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moviebot.data.description_row import LINKED, DescriptionRow, Unanswered
from moviebot.data.description_source import Source
from moviebot.data.imdb_pages import ImdbPages, parse_page
from moviebot.data.polite_http import GIVE_UP_AFTER, Manners
from moviebot.data.remote_file import TryAgain
from moviebot.data.schemas import Movie
from moviebot.data.tmdb import Tmdb, read_key
from moviebot.data.wikipedia import IDS_PER_REQUEST, Wikipedia
from moviebot.errors import UserError
from tests.data.description_server import (
    FAULTS,
    HANG,
    HUGE,
    IMDB,
    KEY,
    MAXLAG,
    ROBOTS,
    TMDB,
    TOKEN,
    WIKIDATA,
    WIKIPEDIA,
    Reply,
    Services,
    reply_json,
    run_services,
)

LEAD = "The Salt Harbour is a drama film about a keeper who hides a letter for thirty years."
PLOT = "A keeper of a lighthouse hides a letter for thirty years."


@pytest.fixture
def services() -> Iterator[Services]:
    with run_services() as running:
        yield running


def make_movies(n: int) -> list[Movie]:
    return [Movie(f"tt{number:07d}", f"Film {number}") for number in range(1, n + 1)]


def make_manners(**changes: object) -> Manners:
    quick = {"contact": "me@example.org", "rate": 500.0, "timeout_s": 30.0, "backoff_s": 0.001, "attempts": 3}
    return Manners(**{**quick, **changes})  # type: ignore[arg-type]


def make_wikipedia(services: Services, manners: Manners | None = None) -> Wikipedia:
    return Wikipedia(
        manners or make_manners(), wikidata_url=services.url + WIKIDATA, wikipedia_url=services.url
    )  # fmt: skip


def ask(source: Source, movies: list[Movie]) -> dict[str, DescriptionRow | Unanswered]:
    """Return the last answer about each movie."""

    async def run() -> dict[str, DescriptionRow | Unanswered]:
        try:
            return {answer.tconst: answer async for answer in source.look_up(movies)}
        finally:
            await source.close()

    return asyncio.run(run())


def texts(answers: dict[str, DescriptionRow | Unanswered]) -> dict[str, str | None]:
    assert all(isinstance(answer, DescriptionRow) for answer in answers.values()), answers
    return {tconst: row.description for tconst, row in answers.items() if isinstance(row, DescriptionRow)}


class TestWikipedia:
    def test_asks_in_batches_and_keeps_licence_and_address(self, services: Services) -> None:
        movies = make_movies(IDS_PER_REQUEST + 30)
        for movie in movies[:-1]:
            services.articles[movie.tconst] = f"{movie.title} (Ü/film)"
            services.leads[f"{movie.title} (Ü/film)"] = f"{movie.title}: {LEAD}"
        source = make_wikipedia(services)
        answers = ask(source, movies)
        assert texts(answers) == {m.tconst: f"{m.title}: {LEAD}" for m in movies[:-1]} | {movies[-1].tconst: None}
        row, missing = answers["tt0000001"], answers[movies[-1].tconst]
        assert isinstance(row, DescriptionRow)
        assert isinstance(missing, DescriptionRow)
        assert (row.licence, row.url) == ("CC BY-SA 4.0", "https://en.wikipedia.org/wiki/Film_1_%28%C3%9C/film%29")
        assert missing.reason == "not_found"
        assert len(services.find(WIKIDATA)) == 2
        assert len(services.find(WIKIPEDIA)) == 8 + 2
        assert source.requests == len(services.requests) == 12
        assert {request.headers["user-agent"] for request in services.requests} == {make_manners().user_agent}
        assert "(+me@example.org)" in make_manners().user_agent
        assert {request.query["maxlag"] for request in services.find(WIKIPEDIA)} == {"5"}

    def test_goes_on_where_a_reply_holds_only_some_of_the_texts(self, services: Services) -> None:
        movies = make_movies(20)
        services.extracts_a_reply = 7
        for movie in movies:
            services.articles[movie.tconst] = movie.title
            services.leads[movie.title] = f"{movie.title} again: {LEAD}"
        assert texts(ask(make_wikipedia(services), movies)) == {m.tconst: f"{m.title} again: {LEAD}" for m in movies}
        assert len(services.find(WIKIPEDIA)) == 3

    def test_follows_renamed_pages_and_knows_what_is_no_description(self, services: Services) -> None:
        cases: dict[str, str | None] = {
            "iFilm": LEAD, "Old": LEAD, "Section": None, "Gone": None, "Solaris": None, "Stub": None, "Blank": None,
        }  # fmt: skip
        movies = make_movies(len(cases))
        services.articles = {movie.tconst: title for movie, title in zip(movies, cases, strict=True)}
        services.redirects = {"Old": "New", "Section": "New#Cast"}
        services.leads = {"IFilm": LEAD, "New": LEAD, "Gone": None, "Stub": "A film.", "Blank": " \n"}
        services.leads["Solaris"] = "Solaris is a name that several films and a novel have in common."
        services.disambiguations = {"Solaris"}
        answers = ask(make_wikipedia(services), movies)
        assert list(texts(answers).values()) == list(cases.values())
        reasons = [row.reason for row in answers.values() if isinstance(row, DescriptionRow)]
        assert reasons == [None, None, "not_found", "not_found", "disambiguation", "too_short", "not_found"]

    def test_takes_the_older_item_where_two_claim_an_id(self, services: Services) -> None:
        services.leads = {"Right": LEAD, "Wrong": PLOT}

        def bind(item: str, title: str) -> dict[str, dict[str, str]]:
            article = f"https://en.wikipedia.org/wiki/{title}"
            values = {"imdb": "tt0000001", "item": f"http://www.wikidata.org/entity/{item}", "article": article}
            return {name: {"type": "uri", "value": value} for name, value in (values | {"title": title}).items()}

        bindings = [bind("Q1000", "Wrong"), bind("Q999", "Right")]
        services.faults[WIKIDATA] = [reply_json({"results": {"bindings": bindings}}, "application/sparql-results+json")]
        assert texts(ask(make_wikipedia(services), make_movies(1))) == {"tt0000001": LEAD}

    def test_yields_the_article_before_its_text_and_needs_not_ask_for_it_again(self, services: Services) -> None:
        services.articles, services.leads = {"tt0000001": "A B"}, {"A B": LEAD}

        async def collect(source: Wikipedia) -> list[DescriptionRow | Unanswered]:
            try:
                return [answer async for answer in source.look_up(make_movies(1))]
            finally:
                await source.close()

        linked, _ = asyncio.run(collect(make_wikipedia(services)))
        assert isinstance(linked, DescriptionRow)
        assert (linked.reason, linked.description) == (LINKED, None)
        assert linked.url is not None
        again = Wikipedia(make_manners(), "en", {"tt0000001": linked.url}, services.url + WIKIDATA, services.url)
        assert texts(ask(again, make_movies(1))) == {"tt0000001": LEAD}
        assert len(services.find(WIKIDATA)) == 1

    def test_waits_while_the_databases_lag(self, services: Services) -> None:
        services.articles, services.leads = {"tt0000001": "A"}, {"A": LEAD}
        services.faults[WIKIPEDIA] = [MAXLAG, MAXLAG]
        assert texts(ask(make_wikipedia(services), make_movies(1))) == {"tt0000001": LEAD}
        assert len(services.find(WIKIPEDIA)) == 3

    def test_an_error_of_the_api_is_no_missing_page(self, services: Services) -> None:
        services.articles = {"tt0000001": "A"}
        services.permanent[WIKIPEDIA] = reply_json({"error": {"code": "badvalue", "info": "Unrecognized value"}})
        answer = ask(make_wikipedia(services), make_movies(1))["tt0000001"]
        assert answer == Unanswered("tt0000001", "Wikipedia: answered badvalue: Unrecognized value")
        assert len(services.find(WIKIPEDIA)) == 1

    def test_passes_over_ids_that_are_not_imdbs(self, services: Services) -> None:
        hostile = [Movie('tt1" } ?x ?y ?z #', "X"), Movie("m1", "Y"), Movie("tt0000001\n", "Z")]
        assert ask(make_wikipedia(services), hostile) == {}
        assert services.requests == []


class TestFaults:
    @pytest.mark.parametrize("fault", list(FAULTS))
    @pytest.mark.parametrize("path", [WIKIDATA, WIKIPEDIA])
    @pytest.mark.parametrize("cached", [True, False])
    def test_a_passing_fault_is_outlived(
        self, path: str, fault: str, cached: bool, services: Services, tmp_path: Path
    ) -> None:
        services.articles, services.leads = {"tt0000001": "A"}, {"A": LEAD}
        services.faults[path] = [FAULTS[fault], FAULTS[fault]]
        manners = make_manners(cache_dir=tmp_path / "cache" if cached else None)
        assert texts(ask(make_wikipedia(services, manners), make_movies(1))) == {"tt0000001": LEAD}
        assert len(services.find(path)) == 3

    @pytest.mark.parametrize("fault", list(FAULTS))
    def test_a_lasting_fault_leaves_the_movie_unanswered(self, fault: str, services: Services) -> None:
        services.permanent[TMDB] = FAULTS[fault]
        answer = ask(Tmdb(make_manners(), KEY, url=services.url), make_movies(1))["tt0000001"]
        assert isinstance(answer, Unanswered)
        assert answer.why.startswith("TMDB: ")
        assert len(services.find(TMDB)) == 3

    def test_a_server_that_says_nothing_is_given_up(self, services: Services) -> None:
        services.permanent[TMDB] = HANG
        manners = make_manners(timeout_s=0.1, attempts=2)
        answer = ask(Tmdb(manners, KEY, url=services.url), make_movies(1))["tt0000001"]
        assert isinstance(answer, Unanswered)
        assert "ReadTimeout" in answer.why
        assert len(services.find(TMDB)) == 2

    def test_a_reply_of_10_mb_is_refused_at_once(self, services: Services, tmp_path: Path) -> None:
        services.permanent[TMDB] = HUGE
        manners = make_manners(cache_dir=tmp_path)
        answer = ask(Tmdb(manners, KEY, url=services.url), make_movies(1))["tt0000001"]
        assert answer == Unanswered("tt0000001", "TMDB: sent more than 8 MiB")
        assert len(services.find(TMDB)) == 1
        assert (tmp_path / "tmdb.db").stat().st_size < 10 << 20

    def test_a_service_that_fails_again_and_again_is_left_alone(self, services: Services) -> None:
        services.permanent[IMDB] = Reply(403, b"", "text/html")
        answers = ask(ImdbPages(make_manners(), services.url), make_movies(50))
        assert len(services.find(IMDB)) == GIVE_UP_AFTER
        assert len(answers) == 50
        last = answers["tt0000050"]
        assert isinstance(last, Unanswered)
        assert "given up after 5 failures in a row, the last: answered 403 Forbidden" in last.why

    def test_waits_as_long_as_retry_after_says(self, services: Services) -> None:
        services.overviews["tt0000001"] = PLOT
        services.faults[TMDB] = [Reply(429, b"", headers={"Retry-After": "1"})]
        started = time.monotonic()
        assert texts(ask(Tmdb(make_manners(), KEY, url=services.url), make_movies(1))) == {"tt0000001": PLOT}
        assert time.monotonic() - started >= 1

    def test_asked_to_wait_for_too_long_it_leaves_the_service_alone(self, services: Services) -> None:
        services.permanent[IMDB] = Reply(503, b"", headers={"Retry-After": "3600"})
        answers = ask(ImdbPages(make_manners(), services.url), make_movies(3))
        assert [str(answer.why) for answer in answers.values() if isinstance(answer, Unanswered)] == [
            "IMDb: answered 503 Service Unavailable, and asks to wait 3600 s"
        ] * 3
        assert len(services.find(IMDB)) == 1

    def test_redirects_are_followed_on_the_same_host_only(self, services: Services) -> None:
        services.pages["tt0000001"] = b'<html><meta name="description" content="%s"></html>' % PLOT.encode()
        services.faults[IMDB] = [Reply(301, headers={"Location": "/title/tt0000001/plotsummary/?x=1"})]
        assert texts(ask(ImdbPages(make_manners(), services.url), make_movies(1))) == {"tt0000001": PLOT}
        with run_services() as other:
            elsewhere = other.url.replace("127.0.0.1", "localhost")
            services.permanent[TMDB] = Reply(302, headers={"Location": f"{elsewhere}/3/find/tt0000001"})
            answer = ask(Tmdb(make_manners(), KEY, url=services.url), make_movies(1))["tt0000001"]
            assert answer == Unanswered("tt0000001", "TMDB: sends us on to localhost: not followed")
            assert other.requests == []

    def test_no_more_requests_a_second_than_allowed(self, services: Services) -> None:
        services.overviews = {movie.tconst: PLOT for movie in make_movies(5)}
        started = time.monotonic()
        ask(Tmdb(make_manners(rate=10.0), KEY, url=services.url), make_movies(5))
        assert time.monotonic() - started >= 0.4

    def test_what_the_cache_holds_is_not_asked_for_again(self, services: Services, tmp_path: Path) -> None:
        services.overviews = {movie.tconst: PLOT for movie in make_movies(3)}
        for _ in range(2):
            found = texts(ask(Tmdb(make_manners(cache_dir=tmp_path), KEY, url=services.url), make_movies(3)))
            assert found == dict.fromkeys(services.overviews, PLOT)
        assert len(services.requests) == 3
        ask(Tmdb(make_manners(cache_dir=tmp_path, fresh=True), KEY, url=services.url), make_movies(3))
        assert len(services.requests) == 6


class TestTmdb:
    @pytest.mark.parametrize("key", [KEY, TOKEN])
    def test_finds_the_overview_by_either_kind_of_key(self, key: str, services: Services) -> None:
        services.overviews = {"tt0000001": PLOT, "tt0000003": ""}
        answers = ask(Tmdb(make_manners(), key, url=services.url), make_movies(3))
        assert dict(sorted(texts(answers).items())) == {"tt0000001": PLOT, "tt0000002": None, "tt0000003": None}
        row = answers["tt0000001"]
        assert isinstance(row, DescriptionRow)
        assert row.url == "https://www.themoviedb.org/movie/77"

    @pytest.mark.parametrize("key", [KEY, TOKEN])
    def test_the_key_is_in_no_file_log_or_message(
        self, key: str, services: Services, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        services.overviews = {"tt0000001": PLOT}
        services.faults[TMDB] = [FAULTS["500"], Reply(404, f"{key}?".encode())]
        answers = ask(Tmdb(make_manners(cache_dir=tmp_path), key, url=services.url), make_movies(2))
        services.permanent[TMDB] = Reply(400, f"bad key {key}".encode())
        answers |= ask(Tmdb(make_manners(cache_dir=tmp_path), key, url=services.url), make_movies(9)[2:])
        assert len(services.requests) > 8
        assert all(key in str(request) for request in services.requests)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert "/3/find/tt0000001" in caplog.text
        shown = [path.read_bytes() for path in files] + [caplog.text.encode(), repr(answers).encode()]
        assert not [piece for piece in shown if key.encode() in piece]

    def test_a_refused_key_is_one_line_without_it(self, services: Services) -> None:
        wrong = "f" * 32
        with pytest.raises(UserError, match=r"TMDB refuses the key \(answered 401 Unauthorized\)") as caught:
            ask(Tmdb(make_manners(), wrong, url=services.url), make_movies(30))
        assert wrong not in str(caught.value)
        assert len(services.requests) <= 8

    def test_a_missing_key_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOME_KEY", " ")
        with pytest.raises(UserError, match="needs a key in the environment variable SOME_KEY"):
            read_key("SOME_KEY")
        monkeypatch.setenv("SOME_KEY", "secret words\nX-Header: 1")
        with pytest.raises(UserError, match="SOME_KEY holds is no key of TMDB") as caught:
            read_key("SOME_KEY")
        assert "secret" not in str(caught.value)


def make_page(*, linked: object = None, meta: str = "", body: str = "") -> bytes:
    script = f'<script type="application/ld+json">{json.dumps(linked)}</script>' if linked else ""
    tag = f'<meta name="description" content="{meta}"/>' if meta else ""
    return f"<!DOCTYPE html><html><head>{script}{tag}</head><body>{body}</body></html>\n".encode()


class TestImdbPages:
    def test_reads_what_the_page_says_to_machines_first(self) -> None:
        summary = f'<div data-testid="sub-section-summaries"><div class="ipc-html-content-inner-div">{PLOT}</div></div>'
        linked = {"@type": "Movie", "description": "From JSON-LD."}
        assert parse_page(make_page(linked=linked, meta="From meta.", body=summary)) == "From JSON-LD."
        assert parse_page(make_page(linked={"@graph": [{"@type": "X"}, linked]})) == "From JSON-LD."
        assert parse_page(make_page(linked=["x", {"description": 7}], meta="From meta.", body=summary)) == PLOT
        assert parse_page(make_page(meta="From meta.")) == "From meta."
        assert parse_page(b"<html><script type='application/ld+json'>{\"description\": </script></html>") == ""
        with pytest.raises(TryAgain, match="cut short"):
            parse_page(make_page(linked=linked)[:-20])

    def test_never_fetches_what_robots_txt_forbids(self, services: Services) -> None:
        rules = "User-agent: *\nAllow: /\n\nUser-agent: moviebot\nDisallow: /title/tt0000002/\n"
        services.robots = Reply(body=rules.encode(), kind="text/plain; charset=utf-8")
        services.pages = {movie.tconst: make_page(meta=PLOT) for movie in make_movies(3)}
        answers = ask(ImdbPages(make_manners(), services.url), make_movies(3))
        assert texts(answers) == {"tt0000001": PLOT, "tt0000002": None, "tt0000003": PLOT}
        row = answers["tt0000002"]
        assert isinstance(row, DescriptionRow)
        assert row.reason == "robots"
        assert not services.find("/title/tt0000002")
        assert len(services.find(ROBOTS)) == 1

    @pytest.mark.parametrize("status", [401, 403, 404, 410])
    def test_a_site_without_rules_may_be_read(self, status: int, services: Services) -> None:
        services.robots = Reply(status, b"", "text/html")
        services.pages["tt0000001"] = make_page(meta=PLOT)
        assert texts(ask(ImdbPages(make_manners(), services.url), make_movies(2))) == {
            "tt0000001": PLOT, "tt0000002": None,
        }  # fmt: skip

    @pytest.mark.parametrize(
        "reply", [Reply(500), Reply(503), Reply(429), HANG, Reply(302, headers={"Location": "http://x/"})]
    )
    def test_a_site_whose_rules_cannot_be_read_is_not(self, reply: Reply, services: Services) -> None:
        services.robots = reply
        services.pages["tt0000001"] = make_page(meta=PLOT)
        answer = ask(ImdbPages(make_manners(timeout_s=0.1), services.url), make_movies(1))["tt0000001"]
        assert isinstance(answer, Unanswered)
        assert "robots.txt can't be read" in answer.why
        assert not services.find(IMDB)

    def test_keeps_the_crawl_delay(self, services: Services) -> None:
        services.robots = Reply(body=b"User-agent: *\nCrawl-delay: 0.3\n", kind="text/plain")
        services.pages = {movie.tconst: make_page(meta=PLOT) for movie in make_movies(3)}
        started = time.monotonic()
        ask(ImdbPages(make_manners(), services.url), make_movies(3))
        assert time.monotonic() - started >= 0.6
