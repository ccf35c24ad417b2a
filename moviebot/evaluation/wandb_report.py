"""The report as a W&B run: figures in its summary, the table, the plots and the HTML page."""

from collections.abc import Sequence
from pathlib import Path

from moviebot.evaluation.figures import Row


def log_to_wandb(
    head: Sequence[str], cells: Sequence[Sequence[str]], rows: Sequence[Row], out: Path, files: Sequence[str]
) -> None:
    """Log a report; offline unless the person is logged in (``wandb sync`` sends it later).

    Args:
        head: the table's column names.
        cells: its cells.
        rows: the figures.
        out: the report's folder; the run's files go there too.
        files: names of its plots and pages.
    """
    import wandb  # seconds to import

    from moviebot.callbacks.wandb_logger import is_logged_in

    logged_in = is_logged_in()
    with wandb.init(
        project="moviebot", job_type="evaluate", dir=str(out), mode="online" if logged_in else "offline"
    ) as run:
        for row in rows:
            for column, value in (("untuned", row.untuned), ("tuned", row.tuned)):
                if value is not None:
                    run.summary[f"{column}/{row.name.strip()}"] = value
        run.log({"report": wandb.Table(columns=list(head), data=[list(row) for row in cells])})
        run.log({name: wandb.Image(str(out / name)) for name in files if name.endswith(".png")})
        pages = [name for name in files if name.endswith(".html")]
        run.log({name: wandb.Html(str(out / name), inject=False) for name in pages})
