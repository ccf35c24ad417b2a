"""What IMDb publishes (https://developer.imdb.com/non-commercial-datasets/): the folder and its files."""

IMDB_URL = "https://datasets.imdbws.com/"
IMDB_STEMS = ("title.basics", "title.ratings", "title.crew", "title.principals", "name.basics", "title.akas")
