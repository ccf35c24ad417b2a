"""Turn a table of movies into a movie chatbot, and train every model in it.

The flow, one package a step: :mod:`moviebot.data` turns tables into artefacts and batches, :mod:`moviebot.modules`
turns batches into weights, :mod:`moviebot.callbacks` watches, :mod:`moviebot.rag` answers people with the result.
Imports go one way: ``rag -> modules -> data``.
"""

__version__ = "0.1.0"
USER_AGENT = f"moviebot/{__version__}"  # the name under which files and pages are asked for
