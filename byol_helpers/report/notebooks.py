"""The whole thesis in one go: every notebook executed by papermill, pages and index.html.

Nothing here writes into the notebooks of the repository.
"""

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from byol_helpers import pipeline
from byol_helpers.core.config import PROFILES
from byol_helpers.core.deadline import StopRequested
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import expand_path, read_json, sha256, write_json, write_text
from byol_helpers.core.progress import EVENTS_FILE, duration
from byol_helpers.core.stage import STAGES_FILE, Run
from byol_helpers.report import html
from byol_helpers.reproduction.plan import load_plan

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
# Seconds of the notebooks in a quick run, two at a time, to divide the time that is left.
SHARES = {
    "00-overview": 15,
    "01-without-labels": 240,
    "02-coco": 125,
    "03-byol": 620,
    "04-transfer": 15,
    "05-finetuning": 560,
    "06-evaluation": 150,
    "07-background": 180,
    "08-beyond-colour": 100,
    "09-scorecard": 10,
    "10-appendix-data": 10,
}


def write_report(run: Run, profile: str, overrides: list[str]) -> Path:
    """Execute the notebooks in their order for one run and return ``index.html``.

    Stages that are up to date are not run again, and neither are notebooks whose source, package,
    profile, stages and committed studies are what they were. The executed notebooks lie in
    ``runs/<run>/notebooks``, as .ipynb and as .html.

    Args:
        run: a run folder, new or not.
        profile: a built-in name or the path of a file, as the run was opened with.
        overrides: settings that differ from the profile's, handed on to the notebooks.

    Raises:
        UserError: a notebook is missing or failed, or a stage has to be put right by the user.
    """
    values = list_parameters(run, profile, overrides)
    if (run.path / "data" / "stage.json").is_file():
        pipeline.prepare(run)  # notices images that changed since
    for stem in SHARES:
        if not (NOTEBOOKS / f"{stem}.ipynb").is_file():
            raise UserError(
                f"{NOTEBOOKS}: {stem}.ipynb is missing; run report from a copy of the repository"
            )
    todo = [stem for stem in SHARES if not _is_fresh(run, stem)]
    for stem in SHARES:
        if stem not in todo:
            print(f"{_number(stem)}: up to date", flush=True)
    if todo:
        _execute_notebooks(run, todo, values)
    pipeline.scorecard(run)
    return write_text(run.path / "index.html", html.render_index(run, list(SHARES)))


def _number(stem: str) -> str:
    return f"[{list(SHARES).index(stem) + 1}/{len(SHARES)}] {stem}"


def count_workers() -> int:
    """Notebooks that run at a time: two on a CPU with two cores or more, else one.

    A notebook leaves one of two cores idle for most of its time. On a GPU two would share memory.
    """
    import torch

    return 1 if torch.cuda.is_available() or (os.cpu_count() or 1) < 2 else 2


def _execute_notebooks(run: Run, todo: list[str], values: dict) -> None:
    """Execute notebooks in processes of their own, the first ones first.

    One that fails ends the others; what their stages have made is kept.
    """
    whole = sum(SHARES[stem] for stem in todo)
    done = 0
    begin = time.monotonic()
    execute = partial(_execute_notebook, folder=run.path / "notebooks", values=values)
    workers = min(count_workers(), len(todo))
    with get_context("spawn").Pool(workers, _prepare_worker, (workers,)) as pool:
        for stem, stages in pool.imap_unordered(execute, todo):
            inputs = _collect_inputs(run, stem, stages)
            write_json(run.path / "notebooks" / f"{stem}.json", inputs)
            done += SHARES[stem]
            spent = time.monotonic() - begin
            left = duration(spent * (whole - done) / done)
            note = f", about {left} left" if whole / 10 < done < whole else ""
            print(f"{_number(stem)}: done after {duration(spent)}{note}", flush=True)


def _prepare_worker(workers: int) -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the parent, end with it even
    where it is killed, and share the cores.

    Two kernels with a thread for each core wait for each other most of the time.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_the_parent, daemon=True).start()
    if workers > 1:
        threads = max(1, (os.cpu_count() or 1) // workers)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def _end_with_the_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this is a worker
    parent.join()
    os._exit(1)  # the kernel notices, and ends as well


def list_parameters(run: Run, profile: str, overrides: list[str]) -> dict:
    """Parameters that differ from what stands in the notebooks: none for a plain quick run.

    Notebooks run in the folder of the repository; called from elsewhere, paths are absolute.
    """
    given = {
        "PROFILE": profile if profile in PROFILES else _name_path(expand_path(profile)),
        "RUN_FOLDER": _name_path(run.path),
        "OVERRIDES": overrides,
        "DATA_FOLDER": _name_path(run.data) if run.data else "",
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


def _name_path(path: Path) -> str:
    """A path as a notebook finds it, whose working folder is that of the repository."""
    return str(path if Path.cwd() == ROOT else path.absolute())


def _collect_inputs(run: Run, stem: str, stages: Iterable[str]) -> dict:
    """What a notebook's page depends on: source, package, profile, stages, studies, tables beside
    the notebook, and results."""
    files = sorted((ROOT / "byol_helpers").rglob("*"))
    package = [path for path in files if path.suffix in (".py", ".yaml", ".html")]
    studies = sorted(run.path.glob("studies/*.csv"))
    tables = sorted(NOTEBOOKS.glob(f"{stem[:2]}-*.csv"))
    results = [ROOT / "results" / name / "scorecard.json" for name in load_plan()]
    cells = json.loads((NOTEBOOKS / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    return {
        "source": ["".join(cell["source"]) for cell in cells],
        "profile": sha256(run.path / "profile.yaml"),
        "package": [sha256(path) for path in package],
        "stages": {name: _hash_stage(run, name) for name in stages},
        "studies": {path.name: sha256(path) for path in studies},
        "tables": {path.name: sha256(path) for path in tables},
        "results": {path.parent.name: sha256(path) for path in results if path.is_file()},
    }


def _hash_stage(run: Run, name: str) -> str | None:
    path = run.path / name / "stage.json"
    return sha256(path) if path.is_file() else None


def _is_fresh(run: Run, stem: str) -> bool:
    """Whether the executed notebook is there and would come out the same."""
    folder = run.path / "notebooks"
    if not all((folder / f"{stem}.{kind}").is_file() for kind in ("json", "ipynb", "html")):
        return False
    then = read_json(folder / f"{stem}.json")
    return then == _collect_inputs(run, stem, then["stages"])


def _execute_notebook(stem: str, folder: Path, values: dict) -> tuple[str, list[str]]:
    """Execute a notebook into ``folder`` and make its page.

    Returns:
        its name, and the names of the stages that it brought up to date.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    print(_number(stem), flush=True)
    part = folder / f".{stem}.ipynb"  # renamed when it is whole
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with follow_stages() as events:
            papermill.execute_notebook(
                NOTEBOOKS / f"{stem}.ipynb",
                part,
                values,
                kernel_name="python3",
                cwd=ROOT,
                progress_bar=False,
                log_output=False,
                stdout_file=events,
                request_save_on_cell_execute=False,
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )
    except PapermillExecutionError as error:
        kept = folder / f"{stem}-stopped.ipynb"
        os.replace(part, kept)
        if error.ename.endswith("StopRequested"):
            raise StopRequested(error.evalue) from None
        if error.ename.endswith("UserError"):
            raise UserError(error.evalue) from None
        raise UserError(
            f"{stem}: cell {error.exec_count} failed with {error.ename}: {error.evalue}; "
            f"the notebook as far as it came: {kept}"
        ) from None
    os.replace(part, folder / f"{stem}.ipynb")
    page = html.render_notebook(folder / f"{stem}.ipynb")
    write_text(folder / f"{stem}.html", page)
    return stem, events.stages


@contextmanager
def follow_stages() -> Iterator["StageEvents"]:
    """While a notebook runs in a process of its own, what its stages announce goes to a file, and
    so do their names."""
    with tempfile.TemporaryDirectory() as folder:
        events = StageEvents(Path(folder) / "events.txt")
        used = Path(folder) / "stages.txt"
        os.environ |= {EVENTS_FILE: str(events.path), STAGES_FILE: str(used)}
        try:
            yield events
        finally:
            del os.environ[EVENTS_FILE], os.environ[STAGES_FILE]
            events.flush()
            if used.is_file():
                events.stages = sorted(set(used.read_text(encoding="utf-8").splitlines()))


class StageEvents:
    """Prints what the stages of a notebook announce; its other outputs are for its reader.

    It takes the place of the file that papermill copies a notebook's standard output to: at each
    output, the lines that were added to ``path`` since the last one are printed. In the end,
    ``stages`` names the stages that the notebook brought up to date.
    """

    def __init__(self, path: Path):
        self.path = path
        self.printed = 0
        self.stages: list[str] = []

    def write(self, text: str) -> None:
        """Take a piece of the notebook's output as the sign that there may be new events."""
        self.flush()

    def flush(self) -> None:
        """Print every whole line that is not printed yet."""
        if not self.path.is_file():
            return
        with open(self.path, encoding="utf-8") as file:
            file.seek(self.printed)
            while (line := file.readline()).endswith("\n"):
                print(f"    {line}", end="", flush=True)
                self.printed = file.tell()
