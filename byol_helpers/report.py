"""The whole thesis in one go: every notebook executed by papermill, its page beside it, and index.html above them."""

import os
import re
import time
from pathlib import Path

from byol_helpers import page, pipeline
from byol_helpers.errors import UserError
from byol_helpers.runs import Run, duration, write_text

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
# Seconds of each notebook in a quick run on two cores: they divide the time that is left, nothing else.
SHARES = {"00-overview": 6, "02-coco": 35, "03-byol": 230, "04-transfer": 12, "05-finetuning": 560, "06-evaluation": 60,
          "07-background": 15, "09-scorecard": 8}


def report(run: Run, overrides: list[str]) -> Path:
    """Execute the notebooks in their order for one run and return ``index.html``.

    Stages that are up to date are not run again, so a second call only draws the pages anew. The executed notebooks lie
    in ``runs/<run>/notebooks``, as .ipynb and as .html.
    """
    values = {"PROFILE": run.profile.name, "RUN_FOLDER": str(run.path), "OVERRIDES": overrides,
              "DATA_FOLDER": str(run.data) if run.data else ""}
    begin = time.monotonic()
    for number, stem in enumerate(SHARES, 1):
        print(f"[{number}/{len(SHARES)}] {stem}", flush=True)
        _execute(stem, run.path / "notebooks", values)
        done = sum(list(SHARES.values())[:number])
        spent = time.monotonic() - begin
        left = spent * (sum(SHARES.values()) - done) / done
        print(f"[{number}/{len(SHARES)}] {stem}: done after {duration(spent)}"
              + (f", about {duration(left)} left" if number < len(SHARES) else ""), flush=True)
    pipeline.scorecard(run)
    return write_text(run.path / "index.html", page.index(run, list(SHARES)))


def _execute(stem: str, folder: Path, values: dict) -> None:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source = NOTEBOOKS / f"{stem}.ipynb"
    if not source.is_file():
        raise UserError(f"{source}: the notebook is missing; run report from a copy of the repository")
    part = folder / f".{stem}.ipynb"  # renamed when it is whole
    folder.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(source, part, values, kernel_name="python3", cwd=Path.cwd(), progress_bar=False,
                                   log_output=False, stdout_file=_Terminal(), request_save_on_cell_execute=False,
                                   extra_arguments=["--IPKernelApp.log_level=CRITICAL"])
    except PapermillExecutionError as error:
        kept = folder / f"{stem}-stopped.ipynb"
        os.replace(part, kept)
        if error.ename.endswith("UserError"):
            raise UserError(error.evalue) from None
        raise UserError(f"{stem}: cell {error.exec_count} failed with {error.ename}: {error.evalue}; "
                        f"the notebook as far as it came: {kept}") from None
    os.replace(part, folder / f"{stem}.ipynb")
    write_text(folder / f"{stem}.html", page.notebook(folder / f"{stem}.ipynb"))


class _Terminal:
    """Passes the stages' own lines on to the terminal while a notebook runs; the rest is for its reader."""

    STAGE = re.compile(r"^[\w/ .-]+: (\d+ of \d+ |goes on|up to date|runs afresh|was interrupted)")

    def write(self, text: str) -> None:
        for line in text.splitlines():
            if self.STAGE.match(line):
                print(f"    {line}", flush=True)

    def flush(self) -> None:
        """Nothing is kept back."""
