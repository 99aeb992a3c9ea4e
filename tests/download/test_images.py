"""Images over a bad line: all intact, none twice, and what cannot be had said in one line."""

import asyncio
import io
import random
import re
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from byol_helpers.core.errors import UserError
from byol_helpers.download import disk
from byol_helpers.download.http import Patience, read_retry_after
from byol_helpers.download.images import WantedImage, download_images
from byol_helpers.download.manifest import Manifest
from tests.helpers.http_server import CUT, DROP, STALL, Server, serving, status
from tests.helpers.served_images import HASTY, picture, served, wanted


def lying(folder: Path) -> dict[str, bytes]:
    """What lies under final names."""
    return {
        f"/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*.jpg")
    }


def bad_line(seed: int):
    """10 % dropped, 5 % cut, 1 % stalled, 4 % busy.

    One file begins with a page of a hotel's network.
    """
    draws = random.Random(seed)

    def fault(path, nth):
        if path.endswith("000123.jpg") and nth == 1:
            return b"<html>Please log in to the network of this hotel</html>"
        draw = draws.random()
        if draw < 0.16:
            return DROP if draw < 0.10 else CUT if draw < 0.15 else STALL
        if draw < 0.20:
            return status(503) if draw < 0.18 else status(429, Retry_After="1")
        return None

    return fault


CALL = """
import sys
from pathlib import Path
from byol_helpers.download.images import download_images
from tests.helpers.served_images import HASTY, served, wanted
download_images(wanted(served(int(sys.argv[3])), sys.argv[1]), Path(sys.argv[2]), 16, HASTY)
"""


def called(address: str, folder: Path, count: int, **options) -> subprocess.Popen:
    """A download in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", CALL, address, str(folder), str(count)],
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
        **options,
    )


@pytest.mark.slow
def test_a_bad_line_and_five_kills(tmp_path):
    files, count = served(2000), 2000
    server = Server(files, bad_line(0))
    with serving(server) as address:
        for kill in range(5):
            call = called(address, tmp_path, count)
            while sum(server.whole.values()) < 330 * (kill + 1):
                time.sleep(0.005)
            call.send_signal(signal.SIGKILL)
            call.wait()
            arrived = lying(tmp_path)
            assert arrived == {path: files[path] for path in arrived}, (
                "half a file under a final name"
            )
        assert called(address, tmp_path, count).wait() == 0
        assert lying(tmp_path) == files and not list(tmp_path.rglob("*.part"))
        assert server.served <= 1.15 * sum(map(len, files.values()))
        again = sum(times - 1 for times in server.whole.values())
        assert again <= 5 * 16 + 1
        before = server.served
        assert (
            download_images(wanted(files, address), tmp_path, 16, HASTY).fetched == 0
            and server.served == before
        )


def fetched(files, folder, fault=lambda path, nth: None, **options):
    """Download all from a server with this fault; gives the server and the result."""
    server = Server(files, fault)
    with serving(server) as address:
        return server, download_images(wanted(files, address), folder, 4, HASTY, **options)


def test_a_dry_run_says_what_there_is_to_do_and_writes_nothing(tmp_path, capsys):
    files = served(40)
    server, result = fetched(files, tmp_path / "new", dry_run=True)
    assert result.fetched == 0 and not (tmp_path / "new").exists() and server.served == 0
    size = disk.format_bytes(40 * sum(map(len, list(files.values())[:32:2])) / 16)
    said = f"download: 40 images: 0 there, 40 to fetch, about {size} (estimated from 16 of them)\n"
    assert capsys.readouterr().out == said
    fetched(dict(list(files.items())[:30]), tmp_path)
    fetched(files, tmp_path, dry_run=True)
    assert (
        "40 images: 30 there, 10 to fetch, "
        f"{disk.format_bytes(sum(map(len, list(files.values())[30:])))}"
        in (capsys.readouterr().out)
    )


def test_the_same_call_fetches_what_is_missing_and_nothing_twice(tmp_path):
    files = served(12)
    fetched(files, tmp_path)
    (tmp_path / "train/000003.jpg").unlink()
    (tmp_path / "train/000004.jpg").write_bytes(b"")  # as after a power cut
    server, result = fetched(files, tmp_path)
    assert (result.there, result.fetched) == (10, 2) and lying(tmp_path) == files
    assert sorted(server.gets) == ["/train/000003.jpg", "/train/000004.jpg"]


def test_files_copied_by_hand_are_looked_at_once_and_bad_ones_fetched(tmp_path):
    files = served(4)
    (tmp_path / "train").mkdir()
    for name, content in zip(
        files, (picture(0), picture(1)[:500], b"<html>", picture(3)), strict=True
    ):
        (tmp_path / name[1:]).write_bytes(content)
    server, result = fetched(files, tmp_path)
    assert (result.there, result.fetched) == (2, 2) and lying(tmp_path) == files
    assert sorted(server.gets) == ["/train/000001.jpg", "/train/000002.jpg"]
    assert fetched(files, tmp_path)[1].there == 4


def test_a_torn_line_of_the_manifest_costs_that_line(tmp_path):
    files = served(6)
    fetched(files, tmp_path)
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert len(Manifest(tmp_path).entries) == 5
    (tmp_path / "train/000005.jpg").unlink()
    assert fetched(files, tmp_path)[1].there >= 5
    assert len(Manifest(tmp_path).entries) == 6 and fetched(files, tmp_path)[1].there == 6


@pytest.mark.parametrize("body", [b"<html>hello</html>", picture(0)[:-400], b"", "size"])
def test_a_wrong_body_is_fetched_again_and_named_when_it_stays(tmp_path, body):
    files = served(3)
    if body == "size":
        file = io.BytesIO()
        Image.new("RGB", (48, 64)).save(file, "JPEG")
        body = file.getvalue()
    server, result = fetched(
        files, tmp_path, lambda path, nth: body if "1.jpg" in path and nth < 3 else None
    )
    assert server.gets["/train/000001.jpg"] == 3 and lying(tmp_path) == files
    with pytest.raises(UserError, match=r"1 of 3 images did not arrive: train/000001.jpg"):
        fetched(files, tmp_path / "2", lambda path, nth: body if "1.jpg" in path else None)
    assert len(lying(tmp_path / "2")) == 2 and not list(tmp_path.rglob(".*.part"))


def test_a_cut_body_goes_on_by_range(tmp_path):
    files = served(1)
    server, _ = fetched(files, tmp_path, lambda path, nth: CUT if nth < 4 else None)
    assert server.served == len(files["/train/000000.jpg"]) and lying(tmp_path) == files
    assert all("if-range" in headers for _, headers in server.asked[1:])


def test_missing_files_do_not_stop_the_others(tmp_path):
    files = served(20)
    with serving(Server({path: files[path] for path in list(files)[5:]})) as address:
        with pytest.raises(UserError) as caught:
            download_images(wanted(files, address), tmp_path, 4, HASTY)
    said = str(caught.value)
    assert (
        "5 of 20 images did not arrive: train/000000.jpg (404" in said
        and "and 2 more" in said
        and "\n" not in said
    )
    assert (
        f"{address}/train/000000.jpg to {tmp_path}/train/000000.jpg" in said
        and len(lying(tmp_path)) == 15
    )
    assert fetched(files, tmp_path)[1].fetched == 5


def test_no_network_says_what_to_copy_where(tmp_path):
    with serving(Server({})) as address:
        pass
    with pytest.raises(UserError) as caught:
        download_images(wanted(served(50), address), tmp_path / "new", 4, HASTY)
    assert str(caught.value).startswith(f"{address}/train/000000.jpg: no connection")
    assert (
        f"by hand to {tmp_path}/new/train/000000.jpg" in str(caught.value)
        and not (tmp_path / "new").exists()
    )


def test_a_network_that_goes_away_ends_the_call(tmp_path):
    files = served(400)
    server = Server(files, lambda path, nth: DROP if sum(server.gets.values()) > 100 else None)
    with serving(server) as address:
        with pytest.raises(UserError, match="once the network is there"):
            download_images(wanted(files, address), tmp_path, 4, Patience(2, 0.01, 0.02, read=0.5))
        assert (
            sum(server.gets.values()) < 150
            and len(Manifest(tmp_path).entries) == len(lying(tmp_path)) == 100
        )


def test_too_small_a_disk_is_said_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=2000))
    server = Server(served(8))
    with (
        serving(server) as address,
        pytest.raises(UserError, match=r"needs 5\d kB, and 2 kB are free; make room"),
    ):
        download_images(wanted(server.files, address), tmp_path / "new", 4, HASTY)
    assert not server.gets and not (tmp_path / "new").exists()


def test_a_disk_that_fills_up_keeps_what_arrived(tmp_path, monkeypatch):
    real = disk.replacing

    def full(path, content):
        if path.name == "000009.jpg":
            raise OSError(28, "No space left on device", str(path))
        with real(path) as part:
            part.write_bytes(content)

    monkeypatch.setattr("byol_helpers.download.images.write_bytes", full)
    with pytest.raises(
        UserError, match="the disk is full .*make room and call the same command again"
    ):
        fetched(served(20), tmp_path)
    monkeypatch.undo()
    arrived = len(lying(tmp_path))
    assert arrived >= 5 and fetched(served(20), tmp_path)[1].there == arrived


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"file.*: cannot be written \((not a directory|file exists)\)"
    ):
        fetched(served(2), tmp_path / "file" / "below")


def test_two_downloads_into_one_folder(tmp_path):
    with Manifest(tmp_path), pytest.raises(UserError, match="another download is writing here"):
        fetched(served(2), tmp_path)


@pytest.mark.parametrize("spelled", ["folder", "file"])
def test_a_local_folder_is_linked_through_the_same_checks(tmp_path, spelled):
    files = served(5)
    source = tmp_path / "a b"
    fetched(files, source)
    (source / "train/000002.jpg").write_bytes(b"rubbish")
    address = str(source) if spelled == "folder" else source.as_uri()
    with pytest.raises(
        UserError, match=r"1 of 5 .*000002.jpg \(not a whole image \(begins with 'rubbish'\)\)"
    ):
        download_images(wanted(files, address), tmp_path / "to", 4, HASTY)
    assert len(lying(tmp_path / "to")) == 4
    assert (tmp_path / "to/train/000000.jpg").samefile(source / "train/000000.jpg")
    with pytest.raises(
        UserError, match="did not arrive"
    ):  # from itself: the bad file is named and not destroyed
        download_images(wanted(files, address), source, 4, HASTY)
    assert (source / "train/000002.jpg").read_bytes() == b"rubbish"


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "", "c:\\x.jpg"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="not a name inside a folder"):
        download_images([WantedImage(name, "http://127.0.0.1:9/x.jpg")], tmp_path)


@pytest.mark.parametrize("url", ["ftp://host/x.jpg", "http:///x.jpg", "http://[x/x.jpg"])
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(UserError, match="x.jpg: cannot be fetched; give an http"):
        download_images([WantedImage("x.jpg", url)], tmp_path)


def test_retry_after_in_seconds_and_as_a_date(tmp_path):
    assert read_retry_after("7") == 7 and read_retry_after(None) == read_retry_after("soon") == 0
    assert 58 < read_retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert read_retry_after(formatdate(time.time() - 60, usegmt=True)) == 0
    waits = [
        status(429, Retry_After="1"),
        status(503, Retry_After=formatdate(time.time() + 3600, usegmt=True)),
    ]
    start = time.monotonic()
    patience = Patience(3, 0.01, 0.02, asked=0.3)
    with serving(
        Server(served(1), lambda path, nth: waits[nth - 1] if nth < 3 else None)
    ) as address:
        download_images(wanted(served(1), address), tmp_path, 1, patience)
    assert 0.6 <= time.monotonic() - start < 3  # twice the cap


def test_a_server_without_head_and_ranges_does_too(tmp_path, capsys):
    files = served(10)
    with serving(
        Server(files, lambda path, nth: CUT if nth == 1 else None, ranges=False, heads=False)
    ) as address:
        download_images(wanted(files, address), tmp_path, 4, HASTY)
    assert lying(tmp_path) == files and "10 to fetch, size unknown" in capsys.readouterr().out


def test_progress_shows_rate_and_time_left(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "byol_helpers.core.progress.Progress.__init__.__defaults__", ("steps", 0, 0.0)
    )
    fetched(served(3), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"download: 1 of 3 images, [\d.]+ images/s, [\d.]+ [kM]?B(ytes)?/s, \d+ s left", lines[1]
    )


def test_ctrl_c_ends_soon_and_leaves_no_part(tmp_path):
    files = served(400)
    server = Server(files, latency=0.05)
    with serving(server) as address:
        # A parent that ignores Ctrl-C, as a job in the background does, would hand that down.
        call = called(
            address,
            tmp_path,
            400,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        while sum(server.whole.values()) < 50:
            time.sleep(0.005)
        call.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in call.communicate(timeout=5)[1]
        arrived = lying(tmp_path)
        assert arrived == {path: files[path] for path in arrived} and not list(
            tmp_path.rglob("*.part")
        )


def test_it_works_where_an_event_loop_runs_already(tmp_path):
    async def cell():
        return fetched(served(2), tmp_path)[1].fetched

    assert asyncio.run(cell()) == 2
