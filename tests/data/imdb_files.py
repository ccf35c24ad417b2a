"""Writes a small folder of IMDb-format TSVs for the tests."""

from pathlib import Path

BASICS_HEADER = [
    "tconst",
    "titleType",
    "primaryTitle",
    "originalTitle",
    "isAdult",
    "startYear",
    "endYear",
    "runtimeMinutes",
    "genres",
]
BASICS = [
    ["tt1", "movie", 'The "Blue" Door', "La porte bleue", "0", "1950", "\\N", "90", "Drama,Crime"],
    ["tt2", "movie", '"Unbalanced', '"Unbalanced', "0", "1960", "\\N", "\\N", "\\N"],
    ["tt3", "short", "A Short", "A Short", "0", "1961", "\\N", "9", "Short"],
    ["tt4", "movie", "Grown-ups Only", "Grown-ups Only", "1", "1971", "\\N", "80", "Adult"],
    ["tt5", "movie", "Night Train", "Night Train", "0", "\\N", "\\N", "101", "Thriller"],
    ["tt6", "movie", "Night Train", "Night Train", "0", "1999", "\\N", "99", "Thriller"],
]


def write_tsv(path: Path, rows: list[list[str]]) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def write_imdb(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_tsv(folder / "title.basics.tsv", [BASICS_HEADER, *BASICS])
    write_tsv(
        folder / "title.ratings.tsv",
        [["tconst", "averageRating", "numVotes"], ["tt1", "7.1", "1500"], ["tt3", "5.0", "9"], ["tt6", "6.0", "20"]],
    )
    write_tsv(
        folder / "title.crew.tsv",
        [["tconst", "directors", "writers"], ["tt1", "nm1,nm2", "\\N"], ["tt2", "\\N", "\\N"], ["tt6", "nm2", "\\N"]],
    )
    write_tsv(
        folder / "title.principals.tsv",
        [
            ["tconst", "ordering", "nconst", "category", "job", "characters"],
            ["tt1", "3", "nm5", "actress", "\\N", '["The ""Lady"'],
            ["tt1", "1", "nm4", "actor", "\\N", "\\N"],
            ["tt1", "2", "nm3", "composer", "\\N", "\\N"],
            ["tt1", "4", "nm1", "director", "\\N", "\\N"],
        ],
    )
    names = ["Ann Ash", "Bo Birk", "Cy Cole", "Di Dahl", "Ed Elm"]
    write_tsv(
        folder / "name.basics.tsv",
        [["nconst", "primaryName"], *([f"nm{number}", name] for number, name in enumerate(names, start=1))],
    )
    write_tsv(
        folder / "title.akas.tsv",
        [
            ["titleId", "ordering", "title", "region", "language"],
            ["tt1", "1", "Die blaue Tür", "DE", "de"],
            ["tt1", "2", 'The "Blue" Door', "US", "\\N"],
            ["tt6", "1", "Tren de noche", "ES", "es"],
            ["tt6", "2", "Nachtzug", "DE", "\\N"],
        ],
    )
    write_tsv(
        folder / "descriptions.tsv",
        [["tconst", "description", "source"], ["tt1", "Ann opens a door. It is blue.", "test"]],
    )
    (folder / "similar.jsonl").write_text(
        '{"tconst": "tt1", "recommended": ["tt6", "tt1", "tt99", "tt2", "tt6"]}\n'
        '{"tconst": "tt98", "recommended": []}\n'
    )
    return folder
