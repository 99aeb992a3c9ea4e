"""Two hundred files as they lie around: each is cut out or costs one line.

Nothing crashes or hangs.
"""

import io
import os
import struct
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol_helpers.coco.images import EXTENSIONS
from byol_helpers.core.errors import UserError
from byol_helpers.cutout.cut_files import cut_out
from tests.helpers.videos import film, left_half

SIZE = (12, 9)
LATIN = os.fsdecode(
    b"latin-\xe9.png" if sys.platform == "linux" else b"latin.png"
)  # elsewhere names are UTF-8
PIXELS = np.random.default_rng(0).integers(60, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
FORMATS = {
    "png": "PNG",
    "jpg": "JPEG",
    "gif": "GIF",
    "bmp": "BMP",
    "tif": "TIFF",
    "webp": "WEBP",
    "jp2": "JPEG2000",
    "ppm": "PPM",
}


def packed(format: str, image: Image.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width: int, height: int, data: bytes = b"", more: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def good() -> dict[str, bytes]:
    """Pictures that are odd and whole, by file name."""
    picture, rng = Image.fromarray(PIXELS), np.random.default_rng(1)
    grey16 = Image.fromarray(rng.integers(20000, 65536, (SIZE[1], SIZE[0]), dtype=np.uint16))
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE)
    frames = [Image.fromarray(np.roll(PIXELS, n, axis=1)) for n in range(3)]
    animated = {"save_all": True, "append_images": frames[1:], "duration": 40}
    files = {
        "grey16.png": packed("PNG", grey16),
        "grey16.tif": packed("TIFF", grey16),
        "cmyk.jpg": packed("JPEG", picture.convert("CMYK")),
        "cmyk.tif": packed("TIFF", picture.convert("CMYK")),
        "grey.jpg": packed("JPEG", picture.convert("L")),
        "alpha.png": packed("PNG", picture.convert("RGBA")),
        "grey-alpha.png": packed("PNG", picture.convert("LA")),
        "one-bit.png": packed("PNG", picture.convert("1")),
        "palette.png": packed("PNG", palette, transparency=0),
        "palette-many.png": packed("PNG", palette, transparency=bytes(range(256))),
        "palette.gif": packed("GIF", palette, transparency=3),
        "float.tif": packed("TIFF", picture.convert("F")),
        "lab.tif": packed("TIFF", picture.convert("LAB")),
        "animated.gif": packed("GIF", frames[0], **animated),
        "animated.webp": packed("WEBP", frames[0], **animated),
        "animated.png": packed("PNG", frames[0], **animated),
        "pages.tif": packed("TIFF", frames[0], **animated),
        "progressive.jpg": packed("JPEG", progressive=True),
        "lzw.tif": packed("TIFF", compression="tiff_lzw"),
        "wide.png": packed("PNG", Image.new("RGB", (20_000, 10), (99, 99, 99))),
        "high.jpg": packed("JPEG", Image.new("RGB", (10, 20_000), (99, 99, 99))),
        "profile.png": packed("PNG", icc_profile=b"nonsense"),
        "exif-garbage.jpg": packed("JPEG", exif=b"Exif\0\0" + bytes(range(60))),
        "exif-99.jpg": packed("JPEG", exif=exif(99)),
        "exif-cut.jpg": packed("JPEG", exif=exif(6).tobytes()[:12]),
        "exif-garbage.png": packed("PNG", exif=b"MM\0*\xff\xff\xff\xff"),
        "exif-6.jpg": packed("JPEG", exif=exif(6)),
        "late-bytes.png": packed("PNG") + b"behind the end" * 99,
        "late-bytes.jpg": packed("JPEG") + bytes(5000),
    }
    files |= {
        f"dot.{name}": packed(format, Image.new("RGB", (1, 1), (200, 100, 90)))
        for name, format in FORMATS.items()
    }
    files |= {f"png-named{extension}": packed("PNG") for extension in EXTENSIONS}
    files |= {f"jpeg-named{extension}": packed("JPEG") for extension in EXTENSIONS}
    odd = [
        "new\nline",
        "tab\t",
        "sp ace ",
        "quo'te\"",
        "-dash",
        "percent%d%s",
        "{brace}",
        "dots..",
        "Größe",
        "日本語",
        "back\\slash",
        "a:b",
        "ansi\x1b[31m",
        "UPPER",
        "x" * 200,
    ]
    return files | {f"{name}.png": packed("PNG") for name in odd} | {"SHOUT.JPEG": packed("JPEG")}


def broken() -> dict[str, bytes]:
    """Files that cannot be read, by name."""
    bomb = packed("BMP")
    start = packed("JPEG").index(b"\xff\xc0")
    jpeg = bytearray(packed("JPEG"))
    jpeg[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    files = {
        "bomb.png": png(60_000, 60_000),
        "bomb-just.png": png(10_000, 9_000),
        "bomb.bmp": bomb[:18] + struct.pack("<ii", 50_000, 50_000) + bomb[26:],
        "bomb.ppm": b"P6\n99999 99999\n255\n",
        "bomb.jpg": bytes(jpeg),
        "bomb.gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + packed("GIF")[10:],
        "no-pixels.png": png(12, 9),
        "text-bomb.png": png(
            12,
            9,
            zlib.compress(bytes(9 * 37)),
            chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200_000_000))),
        ),
        "no-height.png": png(12, 0),
        "shell.jpg": b"#!/bin/sh\nexit 1\n",
        "page.jpg": b"<!doctype html><p>404</p>",
        "vector.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "script.tif": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "text.mp4": b"no film\n" * 50,
        "empty.mkv": b"",
        "picture.mov": packed("PNG"),
        "noise.avi": np.random.default_rng(3).bytes(5000),
        "zeros.mpg": bytes(90_000),
        "list.mp4": b"#EXTM3U\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n",
    }
    files |= {f"empty{extension}": b"" for extension in EXTENSIONS}
    files |= {f"text{extension}": b"This is no picture.\n" * 9 for extension in EXTENSIONS}
    return files | {f"magic-only.{name}": packed(format)[:12] for name, format in FORMATS.items()}


def damaged() -> dict[str, bytes]:
    """Pictures cut off or with wrong bytes: some can be read, most not."""
    files, rng = {}, np.random.default_rng(2)
    for name, format in FORMATS.items():
        whole = packed(format)
        files |= {
            f"cut-{share}.{name}": whole[: len(whole) * share // 100] for share in (30, 60, 95)
        }
        for seed in range(6):
            noisy = np.frombuffer(whole, np.uint8).copy()
            noisy[rng.integers(4, len(whole), 6)] ^= rng.integers(1, 256, 6, dtype=np.uint8)
            files[f"noise-{seed}.{name}"] = noisy.tobytes()
    return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "in"
    folder.mkdir()
    for name, content in (good() | broken() | damaged()).items():
        (folder / name).write_bytes(content)
    film(folder / "film.mp4")
    (folder / "cut-film.mp4").write_bytes((folder / "film.mp4").read_bytes()[:900])
    for name in ("folder.jpg", "void.png", "film-folder.mp4"):
        (folder / name).mkdir()
    (folder / "folder.jpg" / "inside.png").write_bytes(packed("PNG"))
    (folder / "folder.jpg.png").write_bytes(packed("PNG"))
    (folder / "nowhere.png").symlink_to(folder / "gone")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    (folder / "link.png").symlink_to(folder / "grey.jpg")
    (folder / "tree.png").symlink_to(folder / "folder.jpg")
    (folder / "around.png").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    (folder / LATIN).write_bytes(packed("PNG"))
    (folder / "notes.txt").write_text("not looked at")
    (folder / ".hidden.png").write_text("nor this")
    return folder


def test_every_good_file_is_done_and_every_bad_one_costs_a_line(folder, tmp_path, capsys):
    whole = {*good(), "film.mp4", "inside.png", "folder.jpg.png", "link.png", LATIN}
    never = {*broken(), "cut-film.mp4", "nowhere.png", "circle.png", "pipe.png"}
    start = time.monotonic()
    summary = cut_out(folder, left_half, tmp_path / "out")
    assert time.monotonic() - start < 60
    failed = {path.name for path, _ in summary.failed}
    assert never <= failed and not whole & failed
    assert failed - never <= set(damaged()) and len(whole | never | set(damaged())) >= 200
    assert (
        summary.done + len(failed) == len(whole) + len(never) + len(damaged())
        and not summary.skipped
    )

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(summary.failed) + summary.empty
    assert all(line.isprintable() and str(folder) in line for line in lines)
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(made) == summary.done and not any(path.name.endswith(".part") for path in made)
    assert not any("ThreadPool" in thread.name for thread in threading.enumerate())

    for name in (
        "cmyk.jpg",
        "palette-many.png",
        "wide.png",
        "animated.gif",
        "grey16.tif",
        "exif-6.jpg",
    ):
        found = [path for path in made if path.name in (f"{Path(name).stem}.png", f"{name}.png")]
        with Image.open(found[0]) as cut, Image.open(folder / name) as original:
            assert cut.mode == "RGBA"
            assert cut.size == (original.size[::-1] if name == "exif-6.jpg" else original.size), (
                name
            )
    assert cut_out(folder, left_half, tmp_path / "out").done == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_costs_a_line(tmp_path, capsys):
    for name in ("a.png", "b.png", "shut/c.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(packed("PNG"))
    (tmp_path / "in" / "a.png").chmod(0)
    (tmp_path / "in" / "shut").chmod(0)
    summary = cut_out(tmp_path / "in", left_half, tmp_path / "out")
    (tmp_path / "in" / "shut").chmod(0o700)
    assert summary.done == 1 and [path.name for path, _ in summary.failed] == ["shut", "a.png"]


def test_a_cut_out_never_takes_the_place_of_a_picture(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(packed("PNG"))
    (tmp_path / "in" / "a.jpg").symlink_to(tmp_path / "out" / "a.png")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="would take the place of"):
            cut_out(tmp_path / "in", left_half, tmp_path / "out", overwrite=overwrite)
    assert (tmp_path / "out" / "a.png").read_bytes() == packed("PNG")
