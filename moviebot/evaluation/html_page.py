"""A report as one HTML file that needs nothing else: plots inside, every word escaped, no script."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1f2328; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .92rem; }
th, td { border-bottom: 1px solid #d0d7de; padding: .3rem .7rem; text-align: left; white-space: nowrap; }
td:first-child { white-space: normal; min-width: 18rem; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3; }
  th, td { border-color: #30363d; }
  img { background: #fff; }
}
"""
_NUMBERS = (1, 2, 5)  # columns


def render_html(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    explained: str,
    caveats: str,
    folder: Path,
    plots: Sequence[str],
) -> str:
    """Render a report.

    Args:
        head: the table's column names.
        rows: its cells.
        explained: what the columns mean.
        caveats: what the figures do not say.
        folder: where the plots are.
        plots: their file names, PNG.
    """
    cells = "\n".join(
        "<tr>" + "".join(_cell(text, column in _NUMBERS) for column, text in enumerate(row)) + "</tr>" for row in rows
    )
    pictures = "\n".join(
        f'<p><img alt="{html.escape(name)}" src="data:image/png;base64,'
        f'{base64.b64encode((folder / name).read_bytes()).decode()}"></p>'
        for name in plots
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Untuned against tuned</title><style>{_STYLE}</style></head><body>\n<h1>Untuned against tuned</h1>\n"
        f"<table><thead><tr>{''.join(f'<th>{html.escape(name)}</th>' for name in head)}</tr></thead>\n"
        f"<tbody>\n{cells}\n</tbody></table>\n<p>{html.escape(explained)}</p>\n<p>{html.escape(caveats)}</p>\n"
        f"{pictures}\n</body></html>\n"
    )


def _cell(text: str, is_number: bool) -> str:
    return f"<td{' class=number' if is_number else ''}>{html.escape(text)}</td>"
