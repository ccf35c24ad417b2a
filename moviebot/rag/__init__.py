"""Answering people by retrieval-augmented generation.

The flow of one query::

    query -> titles.find_mentions     which known titles stand in it
          -> intent.classify          question | recommend | other
          -> resolver.resolve         which movie (mentions, misspelt titles, described plots), or none
          -> candidates               recommend only: up to 20 movies
          -> prompts.render_*         the facts, or the candidates, in the prompt
          -> generator                the model's text
          -> checks                   grounded? at most three, distinct, never the seed, always a candidate

``bundle`` is the folder that holds all of it, ``pipeline`` walks a query through it, ``conversation`` remembers the
movie spoken of, ``chat`` and ``predict`` are its two users.
"""
