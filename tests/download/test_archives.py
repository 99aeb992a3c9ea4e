"""Archives over a bad line, and what is said of those that are not whole."""

import io
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from byol_helpers.core.errors import UserError
from byol_helpers.download import disk
from byol_helpers.download.archives import download_archive, unpack_members
from byol_helpers.download.disk import LOCK_NAME
from byol_helpers.download.http import Patience
from tests.helpers.http_server import CUT, DROP, STALL, Server, serving, status

HASTY = Patience(retries=4, first=0.02, longest=0.1, asked=0.2, connect=2.0, read=0.4)
MEMBERS = {f"train/{k}.bin": random.Random(k).randbytes(20_000 + k) for k in range(20)}


def zipped(members: dict[str, bytes] = MEMBERS, **attributes) -> bytes:
    """A zip archive; ``attributes`` are set on each member's entry."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(entry, key, value)
            archive.writestr(entry, content)
    return file.getvalue()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "some.zip"
    path.write_bytes(zipped())
    return path


def lying(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.bin")
    }


def test_an_archive_arrives_over_a_bad_line_without_a_byte_twice(tmp_path):
    content, faults = zipped(), [CUT, DROP, status(503), CUT, STALL, None]
    server = Server({"/some.zip": content}, lambda path, nth: faults[nth - 1])
    with serving(server) as address:
        path = download_archive(f"{address}/some.zip", tmp_path / "new/some.zip", HASTY)
        assert path.read_bytes() == content and server.served == len(content)
        assert (
            download_archive(f"{address}/some.zip", path, HASTY) == path
            and sum(server.gets.values()) == 6
        )
    assert {file.name for file in path.parent.iterdir()} == {"some.zip", LOCK_NAME}


def test_a_later_call_goes_on_where_the_first_was_lost(tmp_path):
    content = zipped()
    server = Server(
        {"/some.zip": content}, lambda path, nth: CUT if nth == 1 else DROP if nth < 7 else None
    )
    with serving(server) as address:
        with pytest.raises(
            UserError, match=rf"the network is there, or copy that file by hand to {tmp_path}/a.zip"
        ):
            download_archive(f"{address}/some.zip", tmp_path / "a.zip", HASTY)
        assert not (tmp_path / "a.zip").exists() and server.served == len(content) // 2
        assert (
            download_archive(f"{address}/some.zip", tmp_path / "a.zip", HASTY).read_bytes()
            == content
        )
        assert server.served == len(content)


def test_kill_9_keeps_what_arrived(tmp_path):
    content = zipped({f"{k}.bin": random.Random(k).randbytes(1_000_000) for k in range(6)})
    server = Server({"/some.zip": content}, lambda path, nth: STALL if nth == 1 else None)
    call = (
        "import sys; from pathlib import Path; "
        "from byol_helpers.download.archives import download_archive; "
        "download_archive(sys.argv[1], Path(sys.argv[2]))"
    )
    with serving(server) as address:
        process = subprocess.Popen(
            [sys.executable, "-c", call, f"{address}/some.zip", str(tmp_path / "a.zip")],
            cwd=Path(__file__).parents[2],
        )
        part = tmp_path / ".a.zip.part"
        while (
            not server.served or part.stat().st_size < server.served - 100_000
        ):  # of which the process holds the rest
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        lost = server.served - part.stat().st_size
        calm = Patience(read=10.0)
        whole = download_archive(f"{address}/some.zip", tmp_path / "a.zip", calm)
        assert whole.read_bytes() == content
        assert server.served == len(content) + lost and lost <= 100_000


@pytest.mark.parametrize("ranges", [True, False, "careless"])
def test_a_changed_archive_starts_again(tmp_path, ranges):
    old, new = zipped(), zipped({"other.bin": b"other" * 9999})
    server = Server(
        {"/some.zip": old}, lambda path, nth: CUT if nth == 1 else DROP if nth < 7 else None, ranges
    )
    with serving(server) as address:
        with pytest.raises(UserError):
            download_archive(f"{address}/some.zip", tmp_path / "a.zip", HASTY)
        server.files["/some.zip"] = new
        assert (
            download_archive(f"{address}/some.zip", tmp_path / "a.zip", HASTY).read_bytes() == new
        )


def test_what_is_not_an_archive_gets_no_name(tmp_path):
    server = Server({"/page.zip": b"<html>Please log in</html>", "/cut.zip": zipped()[:-30]})
    with serving(server) as address:
        for name in ("page", "cut"):
            with pytest.raises(
                UserError, match=rf"{name}.zip: is not a whole zip archive .* by hand to {tmp_path}"
            ):
                download_archive(f"{address}/{name}.zip", tmp_path / "a.zip", HASTY)
        with pytest.raises(UserError, match="none.zip: 404 Said; check the address"):
            download_archive(f"{address}/none.zip", tmp_path / "a.zip", HASTY)
    with pytest.raises(UserError, match="no connection.*once the network is there"):
        download_archive(f"{address}/none.zip", tmp_path / "a.zip", HASTY)
    assert {file.name for file in tmp_path.iterdir()} == {LOCK_NAME}


def test_a_local_archive_stays_where_it_is(tmp_path, archive):
    assert (
        download_archive(str(archive), tmp_path / "a.zip")
        == download_archive(archive.as_uri(), tmp_path / "a.zip")
        == archive
    )
    with pytest.raises(UserError, match="b.zip: no such archive; put it there"):
        download_archive(str(tmp_path / "b.zip"), tmp_path / "a.zip")


def test_only_wanted_members_are_unpacked(tmp_path, archive, capsys):
    names = ["train/3.bin", "train/1.bin"]
    assert unpack_members(archive, tmp_path, names) == [tmp_path / name for name in names]
    assert lying(tmp_path) == {name: MEMBERS[name] for name in names}
    assert "unpack some.zip: train/3.bin" in capsys.readouterr().out


def test_a_bomb_that_declares_too_little_is_refused(tmp_path, archive):
    content = zipped({"train/1.bin": bytes(50_000_000)})
    archive.write_bytes(
        content.replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    )
    with pytest.raises(
        UserError, match=r"some.zip: truncated, damaged .*train/1.bin: Bad CRC-32.*delete it"
    ):
        unpack_members(archive, tmp_path, ["train/1.bin"])
    assert not lying(tmp_path) and not list(tmp_path.rglob(".*.part"))


def test_more_than_fits_is_refused_before_it_is_unpacked(tmp_path, archive, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))
    with pytest.raises(UserError, match="needs 482 kB, and 100 kB are free"):
        unpack_members(archive, tmp_path, list(MEMBERS))
    assert not lying(tmp_path)


def test_truncated_damaged_and_wrong_archives_name_file_and_remedy(tmp_path, archive):
    whole = zipped()
    damaged = bytearray(whole)
    damaged[5000] ^= 255
    for content in (whole[:-1000], whole[:100], b"", b"<html>", bytes(damaged)):
        archive.write_bytes(content)
        with pytest.raises(
            UserError,
            match=r"some.zip: truncated, damaged or not a zip archive .* delete it and call",
        ):
            unpack_members(archive, tmp_path, list(MEMBERS))
        assert not lying(tmp_path)
    archive.write_bytes(whole)
    with pytest.raises(
        UserError, match=r"some.zip: holds no val/1.bin \(and 1 more\); give the archive that does"
    ):
        unpack_members(archive, tmp_path, ["train/1.bin", "val/1.bin", "val/2.bin"])
    with pytest.raises(UserError, match=r"none.zip: cannot be read \(no such file or directory\)"):
        unpack_members(tmp_path / "none.zip", tmp_path, ["train/1.bin"])


def test_a_folder_that_cannot_be_written_is_named(tmp_path, archive):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.*: cannot be written"):
        unpack_members(archive, tmp_path / "file/below", list(MEMBERS))
    with (
        serving(Server({"/some.zip": zipped()})) as address,
        pytest.raises(UserError, match="cannot be written"),
    ):
        download_archive(f"{address}/some.zip", tmp_path / "file/below/a.zip", HASTY)
