"""The whole thesis in one go: every notebook executed by papermill, its page beside it, and index.html above them."""

import json
import os
import re
import sys
import time
from pathlib import Path

from byol_helpers import pipeline
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, sha256, write_json, write_text
from byol_helpers.core.progress import duration
from byol_helpers.core.stage import Run
from byol_helpers.report import html

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
# Rough shares of the notebooks in the time of a quick run: they divide the time that is left, nothing else.
SHARES = {
    "00-overview": 6,
    "02-coco": 35,
    "03-byol": 230,
    "04-transfer": 12,
    "05-finetuning": 560,
    "06-evaluation": 60,
    "07-background": 40,
    "09-scorecard": 8,
}


def write_report(run: Run, overrides: list[str]) -> Path:
    """Execute the notebooks in their order for one run and return ``index.html``.

    Stages that are up to date are not run again, and neither are notebooks whose source, package, profile and stages
    are what they were. The executed notebooks lie in ``runs/<run>/notebooks``, as .ipynb and as .html.
    """
    values = _list_parameters(run, overrides)
    if (run.path / "data" / "stage.json").is_file():
        pipeline.prepare(run)  # notices pictures that changed since
    missing = [stem for stem in SHARES if not (NOTEBOOKS / f"{stem}.ipynb").is_file()]
    if missing:
        raise UserError(
            f"{NOTEBOOKS}: {missing[0]}.ipynb is missing; run report from a copy of the repository"
        )
    folder, begin, done = run.path / "notebooks", time.monotonic(), 0
    todo = [stem for stem in SHARES if not _is_fresh(run, stem)]
    for number, stem in enumerate(SHARES, 1):
        if stem not in todo:
            print(f"[{number}/{len(SHARES)}] {stem}: up to date", flush=True)
            continue
        print(f"[{number}/{len(SHARES)}] {stem}", flush=True)
        _execute_notebook(stem, folder, values)
        write_json(folder / f"{stem}.json", _collect_inputs(run, stem))
        done += SHARES[stem]
        spent = time.monotonic() - begin
        left = spent * (sum(SHARES[name] for name in todo) - done) / done
        print(
            f"[{number}/{len(SHARES)}] {stem}: done after {duration(spent)}"
            + (f", about {duration(left)} left" if stem != todo[-1] else ""),
            flush=True,
        )
    pipeline.scorecard(run)
    return write_text(run.path / "index.html", html.render_index(run, list(SHARES)))


def _list_parameters(run: Run, overrides: list[str]) -> dict:
    """Parameters of the notebooks that differ from what stands in them: none for a plain quick run."""
    given = {
        "PROFILE": run.profile.name,
        "RUN_FOLDER": str(run.path),
        "OVERRIDES": overrides,
        "DATA_FOLDER": str(run.data) if run.data else "",
    }
    written = {
        "PROFILE": "quick",
        "RUN_FOLDER": str(Path("runs") / run.path.name),
        "OVERRIDES": [],
        "DATA_FOLDER": "",
    }
    if given["PROFILE"] != run.path.name:
        written["RUN_FOLDER"] = ""
    return {name: value for name, value in given.items() if value != written[name]}


def publish_notebooks(run_path: Path) -> None:
    """Bring the executed notebooks of a run back to ``notebooks``, without papermill's clock."""
    for stem in SHARES:
        notebook = json.loads(
            (run_path / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8")
        )
        notebook["metadata"].pop("papermill", None)
        for cell in notebook["cells"]:
            for key in ("papermill", "execution"):
                cell["metadata"].pop(key, None)
        write_text(
            NOTEBOOKS / f"{stem}.ipynb", json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        )


def _collect_inputs(run: Run, stem: str) -> dict:
    """What a notebook's page depends on: its source, the package, the profile, and the stages done so far."""
    package = sorted(
        path for path in (ROOT / "byol_helpers").rglob("*") if path.suffix in (".py", ".yaml")
    )
    stages = sorted(run.path.glob("**/stage.json"))
    cells = json.loads((NOTEBOOKS / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    return {
        "source": ["".join(cell["source"]) for cell in cells],
        "profile": sha256(run.path / "profile.yaml"),
        "package": [sha256(path) for path in package],
        "stages": {path.relative_to(run.path).as_posix(): sha256(path) for path in stages},
    }


def _is_fresh(run: Run, stem: str) -> bool:
    """Whether the executed notebook is there and would come out the same."""
    folder = run.path / "notebooks"
    if not all((folder / f"{stem}.{kind}").is_file() for kind in ("json", "ipynb", "html")):
        return False
    then, now = read_json(folder / f"{stem}.json"), _collect_inputs(run, stem)
    same_stages = all(now["stages"].get(path) == digest for path, digest in then["stages"].items())
    return same_stages and all(then[key] == now[key] for key in ("source", "profile", "package"))


def _execute_notebook(stem: str, folder: Path, values: dict) -> None:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source = NOTEBOOKS / f"{stem}.ipynb"
    part = folder / f".{stem}.ipynb"  # renamed when it is whole
    folder.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            source,
            part,
            values,
            kernel_name="python3",
            cwd=Path.cwd(),
            progress_bar=False,
            log_output=False,
            stdout_file=_Terminal(),
            request_save_on_cell_execute=False,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )
    except PapermillExecutionError as error:
        kept = folder / f"{stem}-stopped.ipynb"
        os.replace(part, kept)
        if error.ename.endswith("UserError"):
            raise UserError(error.evalue) from None
        raise UserError(
            f"{stem}: cell {error.exec_count} failed with {error.ename}: {error.evalue}; "
            f"the notebook as far as it came: {kept}"
        ) from None
    os.replace(part, folder / f"{stem}.ipynb")
    write_text(folder / f"{stem}.html", html.render_notebook(folder / f"{stem}.ipynb"))


class _Terminal:
    """Passes the stages' own lines on to the terminal while a notebook runs; the rest is for its reader."""

    STAGE = re.compile(
        r"[\w/ .-]+: (\d+ of \d+ \w+.*( in | left)|[\d.e+]+ images/s|"
        r"goes on|up to date|runs afresh|was interrupted)"
    )

    def write(self, text: str) -> None:
        for line in text.splitlines():
            if self.STAGE.match(line):
                print(f"    {line}", flush=True)

    def flush(self) -> None:
        """Nothing is kept back."""


if (
    __name__ == "__main__"
):  # python -m byol_helpers.report.notebooks runs/quick: the outputs of a plain run into notebooks/
    publish_notebooks(Path(sys.argv[1]))
