"""What IMDb publishes (https://developer.imdb.com/non-commercial-datasets/): the folder, its files, their columns."""

IMDB_URL = "https://datasets.imdbws.com/"
IMDB_STEMS = ("title.basics", "title.ratings", "title.crew", "title.principals", "name.basics", "title.akas")
BASICS = ["tconst", "titleType", "primaryTitle", "originalTitle", "isAdult", "startYear", "runtimeMinutes", "genres"]
