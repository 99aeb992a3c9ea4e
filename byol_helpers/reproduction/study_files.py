"""The results of a study as they are committed: small, and enough to check every number.

A folder ``results/<study>`` holds one folder for each condition, laid out like a run, beside
``ground_truth.json.xz`` and ``pretrain``:

- ``<condition>/profile.yaml``, ``study.json``: settings, and what of the plan they belong to;
- ``<condition>/finetune/<arm>-seed<k>``: ``metrics.csv`` and ``stage.json`` (cost, device,
  versions, hash of the weights);
- ``<condition>/evaluate/<arm>-seed<k>``: ``detections.npz.xz`` (``packed_detections``),
  ``bootstrap.csv.xz`` and ``metrics.json``, which is computed from what is kept, so that it can be
  computed again;
- ``<condition>/validation/<arm>-seed<k>/losses.json``;
- ``<condition>/background/<arm>-seed<k>/metrics.json``;
- ``pretrain/<arm>-seed<k>``: ``metrics.csv``, ``stage.json``, ``probes.json``.

Draws are kept to five decimals. Of a run (``keep_run``) the detections are kept whole, as COCO
results in ``detections.json.xz``.
"""

import csv
import io
import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, sha256, write_bytes, write_json, write_text
from byol_helpers.evaluation.comparison import ModelResult, describe_again
from byol_helpers.reproduction.packed_detections import PACKED_FILE, Columns, write_packed

DRAW_DECIMALS = 5
MOST_ROWS = 200  # of a committed metrics.csv
DETECTIONS_FILE = "detections.json.xz"
DRAWS_FILE = "bootstrap.csv.xz"
GROUND_TRUTH_FILE = "ground_truth.json.xz"
RUN_FILES = (  # of a run, copied as they are
    "profile.yaml",
    "splits.json",
    "evaluate/*/metrics.json",
    "finetune/*/metrics.csv",
    "finetune/*/stage.json",
    "pretrain/*/metrics.csv",
    "pretrain/*/stage.json",
    "studies/pretraining.csv",
    "timing/seconds.csv",
    "validation/*/losses.json",
)
PER_IMAGE = ("image_id", "cosine")  # of a background's metrics, what the claims read


def write_compressed(path: Path, value: object) -> Path:
    """A value as JSON without spaces, compressed; equal values give equal bytes."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return _compress(path, text)


def read_compressed(path: Path) -> Any:
    """What ``write_compressed`` wrote; ``UserError`` for a missing or damaged file."""
    try:
        return json.loads(lzma.decompress(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; restore it") from None
    except (lzma.LZMAError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); restore it") from None


def write_result(folder: Path, packed: Columns, result: ModelResult) -> Path:
    """Packed detections, draws and metrics of one model.

    Args:
        result: computed from the packed detections; its draws are rounded here.
    """
    columns = {key: np.round(draws, DRAW_DECIMALS) for key, draws in result.columns.items()}
    rounded = describe_again(ModelResult(result.metrics, columns))
    write_packed(folder / PACKED_FILE, packed)
    lines = [",".join(columns)]
    for row in zip(*columns.values(), strict=True):
        lines.append(
            ",".join("" if np.isnan(cell) else f"{cell:.{DRAW_DECIMALS}f}" for cell in row)
        )
    _compress(folder / DRAWS_FILE, "\n".join(lines) + "\n")
    write_json(folder / "metrics.json", rounded.metrics)
    return folder


def write_curve(source: Path, path: Path) -> Path:
    """A ``metrics.csv`` of ``MOST_ROWS`` rows at most: means of neighbours, at the last's step."""
    rows = list(csv.DictReader(io.StringIO(source.read_text(encoding="utf-8"))))
    size = -(-len(rows) // MOST_ROWS)
    if size <= 1:
        return write_text(path, source.read_text(encoding="utf-8"))
    lines = [",".join(rows[0])]
    for end in range(len(rows), 0, -size):
        group = rows[max(0, end - size) : end]
        cells = [group[-1]["step"]]
        for name in list(rows[0])[1:]:
            values = [float(row[name] or "nan") for row in group]
            defined = [value for value in values if value == value]
            cells.append(f"{np.mean(defined):.7g}" if defined else "nan")
        lines.insert(1, ",".join(cells))
    return write_text(path, "\n".join(lines) + "\n")


def write_stage(stage: Path, path: Path, weights: Path | None, extra: dict) -> Path:
    """A stage's record, with the hash of the weights that it left, without their folder."""
    kept = read_json(stage / "stage.json") | extra
    if weights is not None:
        kept["weights_sha256"] = sha256(weights)
    return write_json(path, kept)


def write_background(source: Path, path: Path) -> Path:
    """Scores of background removal, of the chosen images only what the claims read."""
    content = read_json(source)
    content.pop("all_images", None)
    rows = []
    for row in content["per_image"]:
        rows.append({name: row[name] for name in PER_IMAGE})
    return write_json(path, content | {"per_image": rows})


def keep_run(run: Path, folder: Path) -> Path:
    """What the scorecard of a run is computed from, small but exact, laid out like the run.

    Args:
        run: a run folder whose stages are done.
        folder: emptied first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in RUN_FILES:
        for path in sorted(run.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            write_text(folder / path.relative_to(run), text)
    for path in sorted(run.glob("background/*/metrics.json")):
        write_background(path, folder / path.relative_to(run))
    for path in sorted(run.glob("evaluate/*/detections.json")):
        key = folder / path.parent.relative_to(run)
        write_compressed(key / DETECTIONS_FILE, read_json(path))
        _compress(key / DRAWS_FILE, path.with_name("bootstrap.csv").read_text(encoding="utf-8"))
    truth = run / read_json(run / "splits.json")["test"]
    write_compressed(folder / GROUND_TRUTH_FILE, read_json(truth))
    return folder


def _compress(path: Path, text: str) -> Path:
    return write_bytes(path, lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
