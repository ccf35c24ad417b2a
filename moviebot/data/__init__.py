"""From a table of movies to samples a model can learn from, one file a stage.

The flow (each arrow is a command, each name in the right column a file in ``--out``; :mod:`moviebot.data.schemas` says
what one row is)::

    IMDb TSVs (imdb) | any table (table) | the sample
        |  moviebot catalogue   catalogue, descriptions beside the TSVs
        v
    catalogue.parquet (similar.jsonl: lists that came with the TSVs)
        |  moviebot describe    descriptions: wikipedia | tmdb | imdb_pages | description_file; polite_http
        v
    descriptions.jsonl          what each source said, its licence and address; the catalogue takes the first text
        |  moviebot teach       teacher (lesson): template_teacher | openai_teacher | movielens_teacher
        v
    teacher_raw.jsonl           append-only, verbatim; teacher_runs.json says which of it counts
        |  moviebot clean       cleaning (judging), typos, pairs, documents, splits, leakage
        v
    qa.jsonl, recommendations.jsonl            -> prompts    -> the language model's samples
    question_pairs.parquet, recommend_pairs.parquet          -> the retrievers' samples
    rejects.jsonl, report.json  what was thrown away and why; counts of every stage
        |  moviebot stats       stats, stats_plots: what the sets hold, printed and plotted
        |  moviebot export_data export, card: the sets as a Hugging Face dataset folder with its data card
"""
