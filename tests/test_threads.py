"""Threads that wait do not spin: the policy is chosen before torch's OpenMP reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run_python(script: str, **variables: str) -> subprocess.CompletedProcess:
    """A fresh interpreter, its environment without a wait policy but for what is given."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment = kept | {"PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp, which shows what it has read")
def test_openmp_of_torch_reads_the_policy():
    script = "import byol_helpers, torch; torch.ones(100, 100) @ torch.ones(100, 100)"
    shown = run_python(script, OMP_DISPLAY_ENV="TRUE").stderr
    if "OMP_WAIT_POLICY" not in shown:
        pytest.skip("this build of torch does not use an OpenMP that shows its environment")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in shown


def test_what_the_user_has_set_stays():
    script = "import byol_helpers, os; print(os.environ['OMP_WAIT_POLICY'])"
    assert run_python(script).stdout.strip() == "PASSIVE"
    assert run_python(script, OMP_WAIT_POLICY="ACTIVE").stdout.strip() == "ACTIVE"


def test_a_notebook_imports_the_package_before_torch():
    """A kernel that was started by hand gets the policy by its first import."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        lines = "\n".join(code).splitlines()
        loads = [k for k, line in enumerate(lines) if line.lstrip().startswith("import torch")]
        first = min(
            k for k, line in enumerate(lines) if "import" in line and "byol_helpers" in line
        )
        assert all(first < k for k in loads), path.name
