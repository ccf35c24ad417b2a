"""`moviebot describe` through the command line, against servers on loopback: what wins, what is kept, what is asked."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moviebot.artefact import hash_path, read_jsonl, read_report
from moviebot.cli import run
from moviebot.data.schemas import read_catalogue
from tests.data.description_server import IMDB, KEY, TMDB, WIKIDATA, WIKIPEDIA, Reply, Services, run_services

ROOT = Path(__file__).resolve().parents[2]
EPOCH = "1700000000"
FILMS = 60
LEAD = "is a drama film about a keeper who hides a letter. In the end the letter is found, and the lamp goes out."
OVERVIEW = "A keeper of a lighthouse hides a letter for thirty years, until a storm."


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Of sixty films Wikipedia has every second, TMDB every third, IMDb every fifth."""
    monkeypatch.setenv("TMDB_API_KEY", KEY)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    with run_services() as running:
        for number in range(1, FILMS + 1):
            tconst = f"tt{number:07d}"
            if number % 2 == 0:
                running.articles[tconst] = f"Film {number}"
                running.leads[f"Film {number}"] = f"Film {number} {LEAD}"
            if number % 3 == 0:
                running.overviews[tconst] = f"{number}. {OVERVIEW}"
            if number % 5 == 0:
                running.pages[tconst] = (
                    b'<html><meta name="description" content="Seen by %d people in rain."/></html>' % number
                )
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A data folder with a catalogue of sixty films; the first two have a description of their own."""
    rows = [
        f"tt{number:07d}\tFilm {number}\t{1950 + number % 7}\t{1000 - number}\t"
        + (f"Film {number} was described before." if number < 3 else "")
        for number in range(1, FILMS + 1)
    ]
    table = tmp_path / "films.tsv"
    table.write_text("\n".join(["tconst\ttitle\tyear\tvotes\tdescription", *rows, ""]), encoding="utf-8")
    build_catalogue(tmp_path / "out")
    return tmp_path / "out"


def build_catalogue(out: Path, *more: str) -> None:
    assert run(["catalogue", "--table", str(out.parent / "films.tsv"), "--out", str(out), *more]) == 0


def make_command(services: Services, out: Path, *more: str, sources: str = "wikipedia,tmdb") -> list[str]:
    return [
        "describe", "--sources", sources, "--contact", "me@example.org", "--rate", "900",
        "--wikidata_url", services.url + WIKIDATA, "--wikipedia_url", services.url, "--tmdb_url", services.url,
        "--imdb_url", services.url, "--out", str(out), *more,
    ]  # fmt: skip


def describe(services: Services, out: Path, *more: str, sources: str = "wikipedia,tmdb") -> int:
    return run(make_command(services, out, *more, sources=sources))


def read_sources(out: Path) -> dict[int, str | None]:
    return {int(movie.tconst[2:]): movie.description_source for movie in read_catalogue(out / "catalogue.parquet")}


def read_result(out: Path) -> dict[str, bytes]:
    """Return the artefacts' bytes; the report without what depends on the way to it."""
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    for entry in report.values():
        entry.pop("seconds")
        entry["inputs"] = len(entry["inputs"])
    for counts in report["describe"]["sources"].values():
        counts.pop("requests")
    names = ("catalogue.parquet", "descriptions.jsonl", "rejects.jsonl")
    return {name: (out / name).read_bytes() for name in names} | {"report.json": json.dumps(report).encode()}


class TestWhoWins:
    def test_the_first_source_that_has_a_text(self, services: Services, out: Path) -> None:
        assert describe(services, out, sources="wikipedia,tmdb,imdb") == 0
        wanted = {
            n: "wikipedia" if n % 2 == 0 else "tmdb" if n % 3 == 0 else "imdb" if n % 5 == 0 else None
            for n in range(3, FILMS + 1)
        }
        assert read_sources(out) == {1: "table", 2: "table"} | wanted
        movies = {int(movie.tconst[2:]): movie for movie in read_catalogue(out / "catalogue.parquet")}
        assert movies[1].description == "Film 1 was described before."
        assert movies[4].description == f"Film 4 {LEAD}"
        assert movies[5].description == "Seen by 5 people in rain."
        assert movies[7].description is None
        entry = read_report(out)["describe"]
        assert entry["sources"] == {
            "wikipedia": {"found": 29, "missing": 29, "failed": 0, "requests": 1 + 2},
            "tmdb": {"found": 10, "missing": 19, "failed": 0, "requests": 29},
            "imdb": {"found": 4, "missing": 15, "failed": 0, "requests": 19 + 1},
        }
        assert (entry["in"], entry["had"], entry["cut"]) == (60, 2, 0)

    def test_each_row_says_who_where_when_and_by_what_licence(self, services: Services, out: Path) -> None:
        assert describe(services, out) == 0
        rows = {(row["tconst"], row["source"]): row for row in read_jsonl(out / "descriptions.jsonl")}
        assert list(rows) == sorted(rows)
        assert rows["tt0000004", "wikipedia"] == {
            "tconst": "tt0000004", "description": f"Film 4 {LEAD}", "source": "wikipedia", "licence": "CC BY-SA 4.0",
            "url": "https://en.wikipedia.org/wiki/Film_4", "retrieved_at": "2023-11-14T22:13:20+00:00", "reason": None,
            "raw": None,
        }  # fmt: skip
        assert rows["tt0000005", "wikipedia"]["reason"] == "not_found"
        assert rows["tt0000005", "wikipedia"]["description"] is None
        assert ("tt0000004", "tmdb") not in rows
        assert ("tt0000001", "wikipedia") not in rows

    def test_overwrite_describes_the_others_too(self, services: Services, out: Path) -> None:
        assert describe(services, out, "--overwrite", sources="wikipedia") == 0
        sources = read_sources(out)
        assert (sources[1], sources[2]) == ("table", "wikipedia")  # what nobody else has stays

    def test_another_language_is_another_source(self, services: Services, out: Path) -> None:
        assert describe(services, out, sources="tmdb") == 0
        asked = len(services.requests)
        assert describe(services, out, "--language", "de", "--overwrite", sources="tmdb") == 0
        assert read_sources(out)[3] == "tmdb-de"
        assert {request.query["language"] for request in services.requests[asked:]} == {"de"}

    def test_long_texts_are_cut_at_a_sentence_and_cut_anew_without_asking(self, services: Services, out: Path) -> None:
        assert describe(services, out, "--max_words", "14") == 0
        movies = read_catalogue(out / "catalogue.parquet")
        assert movies[3].description == "Film 4 is a drama film about a keeper who hides a letter."
        assert read_report(out)["describe"]["cut"] == 29 + 10
        asked = len(services.requests)
        assert describe(services, out) == 0
        assert read_catalogue(out / "catalogue.parquet")[3].description == f"Film 4 {LEAD}"
        assert len(services.requests) == asked

    def test_what_is_no_description_is_counted_and_kept_aside(self, services: Services, out: Path) -> None:
        services.leads["Film 4"], services.leads["Film 6"] = "A film.", "Film 6 may refer to: a film, a roll of film"
        services.robots = Reply(body=b"User-agent: *\nDisallow: /title/tt0000010/\n", kind="text/plain")
        services.leads["Film 10"] = None
        services.pages["tt0000005"] = b"<html><meta name='description' content='Seen by 5 people.'/></html>"
        assert describe(services, out, sources="wikipedia,imdb") == 0
        rejected = read_report(out)["describe"]["rejected"]
        assert {reason: n for reason, n in rejected.items() if n} == {
            "too_short": 2, "disambiguation": 1, "robots": 1,
        }  # fmt: skip
        rows = [row for row in read_jsonl(out / "rejects.jsonl") if row["stage"] == "describe"]
        assert [(row["reason"], row["tconst"], row["raw"]) for row in rows[:2]] == [
            ("too_short", "tt0000004", "A film."),
            ("too_short", "tt0000005", "Seen by 5 people."),
        ]
        assert not services.find("/title/tt0000010")


class TestMemory:
    def test_a_rerun_asks_nothing(self, services: Services, out: Path) -> None:
        assert describe(services, out) == 0
        first = read_result(out)
        services.requests.clear()
        assert describe(services, out) == 0
        (out / "report.json").unlink()
        build_catalogue(out)
        assert describe(services, out) == 0
        assert services.requests == []
        assert read_result(out) == first

    def test_the_catalogue_stays_current(self, services: Services, out: Path) -> None:
        assert describe(services, out) == 0
        described = hash_path(out / "catalogue.parquet")
        build_catalogue(out)
        assert hash_path(out / "catalogue.parquet") == described
        assert read_sources(out)[4] == "wikipedia"

    def test_a_catalogue_that_is_not_that_stages_does_not_become_so(self, services: Services, out: Path) -> None:
        recorded = read_report(out)["catalogue"]["outputs"]
        build_catalogue(out.parent / "other", "--limit", "7")
        (out.parent / "other" / "catalogue.parquet").replace(out / "catalogue.parquet")
        assert describe(services, out) == 0
        assert read_report(out)["catalogue"]["outputs"] == recorded
        build_catalogue(out)
        assert len(read_catalogue(out / "catalogue.parquet")) == FILMS

    def test_another_catalogue_gets_what_is_known_back(self, services: Services, out: Path) -> None:
        assert describe(services, out) == 0
        first = read_result(out)
        services.requests.clear()
        build_catalogue(out, "--limit", "30")
        assert set(read_sources(out).values()) == {None, "table"}
        assert describe(services, out) == 0
        assert read_sources(out)[4] == "wikipedia"
        assert len(read_jsonl(out / "descriptions.jsonl")) == 58 + 29
        build_catalogue(out)
        assert describe(services, out) == 0
        assert services.requests == []
        assert read_result(out) == first

    def test_a_nothing_is_asked_for_again_only_if_told(self, services: Services, out: Path) -> None:
        assert describe(services, out) == 0
        services.requests.clear()
        services.articles["tt0000005"], services.leads["Film 5"] = "Film 5", f"Film 5 {LEAD}"
        assert describe(services, out, "--max_words", "100") == 0
        assert services.requests == []
        assert describe(services, out, "--retry_missing") == 0
        assert read_sources(out)[5] == "wikipedia"
        assert read_sources(out)[3] == "tmdb"  # it has a description: it is not asked about
        assert set(services.count_ids()) == {f"tt{n:07d}" for n in range(5, FILMS + 1) if n % 2 and n % 3}

    def test_a_source_that_fails_leaves_its_movies_to_the_next_run(
        self, services: Services, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert describe(services, out) == 0
        first = read_result(out)
        again = out.parent / "again"
        build_catalogue_like(out, again)
        services.permanent[WIKIPEDIA] = Reply(400, b"", "text/html")
        assert describe(services, again) == 2
        assert (
            "29 movies could not be looked up (the first: wikipedia: Wikipedia: answered 400" in capsys.readouterr().err
        )
        assert (read_sources(again)[6], read_sources(again)[9]) == (None, "tmdb")  # not left to TMDB
        assert read_report(again)["describe"]["sources"]["wikipedia"]["failed"] == 29
        services.permanent.clear()
        services.requests.clear()
        assert describe(services, again) == 0
        assert read_result(again) == first
        assert not services.find(WIKIDATA)  # which article it is was known
        assert not services.find(TMDB)

    def test_a_line_cut_short_by_a_kill_is_passed_over(self, services: Services, out: Path) -> None:
        (out / "descriptions.jsonl").write_text('{"tconst": "tt0000004", "descr', encoding="utf-8")
        assert describe(services, out) == 0
        assert read_sources(out)[4] == "wikipedia"

    def test_a_damaged_row_is_named(self, services: Services, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (out / "descriptions.jsonl").write_text('{"tconst": "tt0000004", "source": 7}\n', encoding="utf-8")
        assert describe(services, out) == 2
        assert "descriptions.jsonl, row 1 lacks source, retrieved_at" in capsys.readouterr().err


def build_catalogue_like(out: Path, other: Path) -> None:
    assert run(["catalogue", "--table", str(out.parent / "films.tsv"), "--out", str(other)]) == 0


class TestFile:
    def test_by_id_with_what_the_file_is_called(self, services: Services, out: Path, tmp_path: Path) -> None:
        table = tmp_path / "my plots.csv"
        table.write_text(
            'tconst,plot\ntt0000005,"A keeper, alone, lights a lamp."\ntt0000005,Another text of five words.\n'
            "tt0000007,\ntt9999999,A film that nobody here has heard of.\ntt0000003\n"
        )
        assert describe(services, out, "--licence", "CC0", sources=f"file:{table},tmdb") == 0
        movie = read_catalogue(out / "catalogue.parquet")[4]
        assert (movie.description, movie.description_source) == ("A keeper, alone, lights a lamp.", "my plots")
        assert read_sources(out)[3] == "tmdb"
        row = next(row for row in read_jsonl(out / "descriptions.jsonl") if row["source"] == "my plots")
        assert (row["licence"], row["url"]) == ("CC0", None)
        entry = read_report(out)["describe"]
        assert entry["sources"]["my plots"] == {"found": 1, "missing": 57, "failed": 0, "requests": 0}
        assert (entry["rejected"]["duplicate_id"], entry["rejected"]["bad_row"]) == (1, 1)

    def test_by_title_and_year(self, services: Services, out: Path, tmp_path: Path) -> None:
        table = tmp_path / "plots.jsonl"
        rows = [("Film 8", 1951), ("Film 9", 1999), ("Film 10", None), ("Film 11", "soon")]
        lines = [json.dumps({"Title": t, "year": y, "overview": f"The whole story of {t}."}) for t, y in rows]
        table.write_text("\n".join(lines))
        assert describe(services, out, sources=f"file:{table}") == 0
        assert {n: name for n, name in read_sources(out).items() if n > 2 and name} == {8: "plots", 10: "plots"}

    def test_a_changed_file_changes_the_catalogue(self, services: Services, out: Path, tmp_path: Path) -> None:
        table = tmp_path / "plots.tsv"
        for text in ("The first text of it.", "The second text of it."):
            table.write_text(f"tconst\tdescription\ntt0000005\t{text}\n")
            assert describe(services, out, sources=f"file:{table}") == 0
            assert read_catalogue(out / "catalogue.parquet")[4].description == text

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.tsv", "tconst\tname\ntt1\tX\n", "needs a column 'description'"),
            ("a.tsv", "", "is no table"),
            ("a.txt", "tconst\tdescription\n", "is no table"),
            ("a.parquet", "no Parquet", r"--sources file:\S+ is not a whole Parquet file"),
        ],
    )
    def test_a_file_that_will_not_do(
        self, name: str, content: str, message: str, services: Services, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (out / name).write_text(content)
        assert describe(services, out, sources=f"file:{out / name}") == 2
        assert re.search(message, capsys.readouterr().err)


class TestSettings:
    def test_all_problems_at_once(self, services: Services, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        more = ["--max_words", "0", "--rate", "0", "--timeout_s", "-1", "--language", "../x"]
        assert describe(services, out, *more, sources="wikipedia,imbd,wikipedia,file:a/imdb.tsv") == 2
        line = capsys.readouterr().err
        for problem in (
            "imbd: give wikipedia, tmdb, imdb or file:PATH", "more than one is called wikipedia",
            "a file can't be called", "--max_words 0", "--rate 0", "--timeout_s -1", "--language '../x'",
        ):  # fmt: skip
            assert problem in line
        assert services.requests == []

    def test_a_missing_key_shows_before_anything_is_asked(
        self, services: Services, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("TMDB_API_KEY")
        assert describe(services, out) == 2
        assert "the source tmdb needs a key in the environment variable TMDB_API_KEY" in capsys.readouterr().err
        assert services.requests == []

    def test_a_wrong_epoch(
        self, services: Services, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
        assert describe(services, out) == 2
        assert "SOURCE_DATE_EPOCH='yesterday' is no number of seconds" in capsys.readouterr().err

    def test_no_catalogue(self, services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert describe(services, tmp_path) == 2
        assert "run `moviebot catalogue" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_imdb_is_off_unless_named(self, services: Services, out: Path) -> None:
        assert describe(services, out) == 0
        assert not services.find(IMDB)
        assert not services.find("/robots.txt")

    def test_without_a_contact_it_warns(self, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with run_services() as services:
            command = make_command(services, out, sources="wikipedia")
            place = command.index("--contact")
            assert run(command[:place] + command[place + 2 :]) == 0
            assert "no --contact" in capsys.readouterr().err
            assert "(+" not in services.requests[0].headers["user-agent"]


def start(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "moviebot", *command], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
class TestKill:
    def test_after_a_kill_what_was_answered_is_not_asked_for_again(self, services: Services, out: Path) -> None:
        whole = out.parent / "whole"
        build_catalogue_like(out, whole)
        assert describe(services, whole) == 0
        services.requests.clear()
        services.delay_s = 0.05
        with start(make_command(services, out)) as process:
            while len(services.requests) < 15 and process.poll() is None:
                time.sleep(0.001)
            process.kill()
            printed = process.communicate()[0]
        assert process.returncode == -signal.SIGKILL, printed
        rows = read_jsonl(out / "descriptions.jsonl", skip_half_line=True)
        tmdb = {row["tconst"] for row in rows if row["source"] == "tmdb"}
        assert len({row["tconst"] for row in rows if row["source"] == "wikipedia"}) == 58
        sent = {request.path for request in services.requests}
        services.delay_s = 0
        services.requests.clear()
        with start(make_command(services, out)) as process:
            printed = process.communicate()[0]
        assert process.returncode == 0, printed
        assert KEY not in printed
        left = {f"{TMDB}tt{n:07d}" for n in range(3, FILMS + 1, 2) if f"tt{n:07d}" not in tmdb}
        assert left - sent
        # What came just before the kill, and is not in the log yet, is in the cache: no request is sent for it.
        assert left - sent <= {request.path for request in services.requests} <= left
        assert read_result(out) == read_result(whole)
        assert not [path for path in out.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]

    def test_killed_at_twenty_moments_then_the_same_bytes(self, services: Services, out: Path) -> None:
        whole, after = out.parent / "whole", out.parent / "after"
        build_catalogue_like(out, whole)
        services.delay_s = 0.01
        assert describe(services, whole, sources="wikipedia,tmdb,imdb") == 0
        command = make_command(services, out, sources="wikipedia,tmdb,imdb")
        place = command.index("--out")
        seconds = str(read_report(whole)["describe"]["seconds"])
        process = subprocess.run(
            [sys.executable, str(ROOT / "tests" / "kill_stage.py"), "20", seconds, str(out), str(after),
             *command[:place], *command[place + 2:]],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True,
            text=True, check=False, timeout=900,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        assert int(process.stdout.splitlines()[-1]) > 0, "every run ended before it was killed"
        undisturbed = read_result(whole)
        for number in range(20):
            rerun = read_result(after / str(number))
            assert [name for name in undisturbed if rerun[name] != undisturbed[name]] == []
