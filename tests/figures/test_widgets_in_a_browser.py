"""The widget of notebook 07 in a browser: JupyterLab runs a small notebook, the slider moves, the
picture changes.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CELL = """
import numpy as np
from pathlib import Path
from PIL import Image
from pycocotools import mask as rle
from byol_helpers.coco.dataset import Split
from byol_helpers.figures.explorer import build_explorer, is_live

pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
Image.fromarray(pixels).save("a.png")
def found(score, left):
    own = np.zeros((40, 60), np.uint8, order="F")
    own[10:30, left:left + 15] = 1
    return {"image_id": 1, "category_id": 1, "score": score, "segmentation": rle.encode(own)}
images = [{"id": 1, "file_name": "a.png"}]
split = Split("test", Path("."), images, {}, [{"id": 1, "name": "leaf"}], Path("test.json"))
print("live:", is_live())
build_explorer(split, {"byol": [found(0.9, 5), found(0.5, 35)], "random": []}, [1])
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on this machine whose folder holds one notebook with one cell."""
    pytest.importorskip("playwright", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    folder = tmp_path_factory.mktemp("lab")
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "source": CELL,
        "outputs": [],
        "execution_count": None,
    }
    (folder / "work").mkdir()
    (folder / "work" / "tiny.ipynb").write_text(
        json.dumps(
            {
                "cells": [cell],
                "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        )
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {
        f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")
    }
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={folder / 'work'}",
        "--LabApp.news_url=",
    ]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=os.environ | own, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status", server, folder / "log")
        yield f"http://127.0.0.1:{port}/lab/tree/tiny.ipynb"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.mark.slow
def test_the_slider_changes_the_picture(lab):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page()
        page.set_default_timeout(40_000)
        page.goto(lab)
        page.locator(".jp-CodeCell .cm-content").click()
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(state="attached")
        page.keyboard.press("Shift+Enter")
        picture = page.locator("img.jupyter-widgets")
        picture.wait_for()
        assert "live: True" in page.locator(".jp-OutputArea").first.inner_text()
        said = page.get_by_text("2 detections, 2 with this score or more")
        said.wait_for()
        first, address = _bytes(picture), picture.get_attribute("src")
        assert first.startswith("137,80,78,71,")  # a PNG
        page.locator(".noUi-handle").press(
            "ArrowRight"
        )  # the least score is now above that of one detection
        page.get_by_text("2 detections, 1 with this score or more").wait_for()
        page.wait_for_function(
            "src => document.querySelector('img.jupyter-widgets').src != src", arg=address
        )
        assert _bytes(picture) != first
        page.locator(".noUi-handle").press("ArrowLeft")
        said.wait_for()
        page.wait_for_timeout(300)
        assert _bytes(picture) == first
        browser.close()


def _bytes(picture) -> str:
    """The bytes of the picture that the browser shows, as numbers with commas."""
    return picture.evaluate(
        "async img => new Uint8Array(await (await fetch(img.src)).arrayBuffer()).toString()"
    )
