"""Reading the pictures that people have."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from byol_helpers.coco.images import list_images, measure_depth, read_image, read_image_size
from byol_helpers.core.errors import UserError


@pytest.fixture
def picture() -> np.ndarray:
    """Random pixels of odd size: every turn and every mixed-up axis shows."""
    return np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)


def test_plain_colour_is_read_as_it_is(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.uint8 and read.flags.writeable and read.flags.c_contiguous
    np.testing.assert_array_equal(read, picture)


# What has to be done to stored pixels, by the EXIF standard's words for row 0 and column 0.
TURNS = {
    1: lambda p: p,  # top, left
    2: lambda p: p[:, ::-1],  # top, right
    3: lambda p: p[::-1, ::-1],  # bottom, right
    4: lambda p: p[::-1],  # bottom, left
    5: lambda p: p.swapaxes(0, 1),  # left, top
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],  # right, top
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
    8: lambda p: p.swapaxes(0, 1)[::-1],  # left, bottom
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("extension", ["png", "tiff", "webp"])
def test_exif_orientation_is_applied_once(tmp_path, picture, orientation, extension):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if extension == "webp" else {}
    Image.fromarray(picture).save(tmp_path / f"a.{extension}", exif=exif, **lossless)
    np.testing.assert_array_equal(
        read_image(tmp_path / f"a.{extension}"), TURNS[orientation](picture)
    )


def test_unreadable_exif_does_not_cost_the_picture(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fbroken")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


def test_orientation_turns_sixteen_bit_grey_too(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture[..., 0].astype(np.uint16) * 257).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 1], TURNS[6](picture[..., 0]))


def test_grey_is_repeated(tmp_path, picture):
    Image.fromarray(picture[..., 0]).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert all(np.array_equal(read[..., channel], picture[..., 0]) for channel in range(3))


def test_black_and_white_palette_and_cmyk(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "one-bit.png")
    np.testing.assert_array_equal(read_image(tmp_path / "one-bit.png"), [[[255] * 3, [0] * 3]])

    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 150, 100])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "palette.png"), [[[10, 20, 30], [200, 150, 100]]]
    )

    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0] = 255  # cyan alone: no red, all green and blue
    Image.fromarray(inks, "CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    np.testing.assert_allclose(
        read_image(tmp_path / "cmyk.jpg").mean(axis=(0, 1)), [0, 255, 255], atol=3
    )


@pytest.mark.parametrize("extension", ["png", "tiff", "pgm"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path, extension):
    deep = np.array([[0, 128, 129, 257], [32768, 65534, 65535, 300]], np.uint16)
    if extension == "pgm":
        (tmp_path / "a.pgm").write_bytes(b"P5 4 2 65535\n" + deep.astype(">u2").tobytes())
    else:
        Image.fromarray(deep).save(tmp_path / f"a.{extension}")
    wanted = [[0, 0, 1, 1], [128, 255, 255, 1]]
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{extension}")[..., 2], wanted)


def test_grey_without_a_nominal_range_is_stretched(tmp_path):
    Image.fromarray(np.array([[-1.0, 0.0, 1.0]], np.float32)).save(tmp_path / "float.tiff")
    np.testing.assert_array_equal(read_image(tmp_path / "float.tiff")[0, :, 0], [0, 128, 255])
    Image.fromarray(np.array([[0, 1 << 20, 1 << 21]], np.int32)).save(tmp_path / "int.tiff")
    np.testing.assert_array_equal(read_image(tmp_path / "int.tiff")[0, :, 0], [0, 128, 255])
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "flat.tiff")
    assert not read_image(tmp_path / "flat.tiff").any()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_fewer_bits_in_sixteen_is_stretched_by_its_true_range(tmp_path, bits):
    deep = np.array([[0, 2 ** (bits - 1), 2**bits - 1]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 0], [0, 128, 255])
    assert measure_depth(tmp_path / "a.png") == bits
    Image.fromarray(deep.astype(np.uint8)).save(tmp_path / "eight.png")
    assert measure_depth(tmp_path / "eight.png") == 0


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow does not write AVIF")
def test_avif_is_read(tmp_path):
    Image.new("RGB", (20, 10), (200, 100, 50)).save(tmp_path / "a.avif")
    assert list_images(tmp_path) == [tmp_path / "a.avif"]
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - [200, 100, 50]).max() < 8


def test_heic_is_read_or_named(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match="HEIC is read once pillow-heif is installed"):
        read_image(tmp_path / "a.jpg")
    monkeypatch.undo()
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif.register_heif_opener()
    Image.new("RGB", (64, 32), (200, 100, 50)).save(tmp_path / "a.heic")
    assert np.abs(read_image(tmp_path / "a.heic").astype(int) - [200, 100, 50]).max() < 8


def test_the_size_is_that_of_the_upright_picture(tmp_path, picture):
    for orientation in TURNS:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
        assert read_image_size(tmp_path / "a.png") == read_image(tmp_path / "a.png").shape[:2]


def test_sixteen_bit_colour_keeps_the_high_byte(tmp_path, picture):
    _write_png(
        tmp_path / "a.png", (picture.astype(np.uint16) << 8).astype(">u2"), depth=16, colour=2
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


def test_transparency_is_laid_over_black(tmp_path):
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png"), [[[200, 100, 50], [0, 0, 0], [40, 20, 10]]]
    )

    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([10, 20, 30, 200, 150, 100])
    palette.putpixel((0, 0), 0)
    palette.save(tmp_path / "b.gif", transparency=1)
    np.testing.assert_array_equal(read_image(tmp_path / "b.gif"), [[[10, 20, 30], [0, 0, 0]]])


@pytest.mark.parametrize("extension", ["gif", "png", "webp", "tiff", "mpo"])
def test_the_first_frame_of_several_is_read(tmp_path, extension):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("#ff0000", "#0000ff")]
    lossless = {"lossless": True} if extension == "webp" else {}
    frames[0].save(tmp_path / f"a.{extension}", save_all=True, append_images=frames[1:], **lossless)
    lossy = 1 if extension == "mpo" else 0  # the JPEG of several pictures that telephones write
    red = np.full((3, 4, 3), [255, 0, 0])
    np.testing.assert_allclose(read_image(tmp_path / f"a.{extension}"), red, atol=lossy)


def test_the_extension_does_not_matter(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), picture)


def _bad_files(folder: Path) -> dict[str, str]:
    """Write hostile files; return name -> what its message must say."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    encoded = {}
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        stream = io.BytesIO()
        noise.save(stream, kind)
        encoded[kind] = stream.getvalue()
    said = {
        "empty.jpg": "the file is empty",
        "text.jpg": "not an image",
        "program.jpg": "not an image",
    }
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture at all")
    (folder / "program.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    )
    for kind, content in encoded.items():
        name = f"cut.{kind.lower()}"
        (folder / name).write_bytes(content[: len(content) // 2])
        said[name] = "does not decode" if kind not in ("WEBP", "TIFF") else ""
    broken = bytearray(encoded["PNG"])
    broken[len(broken) // 2] ^= 255
    (folder / "flipped.png").write_bytes(broken)
    said["flipped.png"] = "does not decode"
    rows = zlib.compress(bytes((10_000 // 8 + 1) * 10_000), 9)
    _write_png(folder / "bomb.png", None, depth=1, colour=0, size=(10_000, 10_000), packed=rows)
    _write_png(folder / "huge.png", None, depth=1, colour=0, size=(60_000, 60_000), packed=rows)
    return said | {
        "bomb.png": "pixels; make the image smaller",
        "huge.png": "pixels; make the image smaller",
    }


def test_bad_files_give_one_line_that_names_them(tmp_path, recwarn):
    for name, said in _bad_files(tmp_path).items():
        with pytest.raises(UserError) as error:
            read_image(tmp_path / name)
        message = str(error.value)
        assert message.startswith(f"{tmp_path / name}: ") and said in message, message
        assert "\n" not in message and "; " in message, message
    assert not recwarn.list


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(UserError, match="no such file; check"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="a folder, not an image"):
        read_image(tmp_path)
    with pytest.raises(UserError, match="no such folder; give"):
        list_images(tmp_path / "none")


def test_extreme_shapes(tmp_path):
    for shape in ((1, 1, 3), (10, 20_000, 3), (20_000, 10, 3)):
        Image.fromarray(np.full(shape, 7, np.uint8)).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png").shape == shape


def test_images_are_listed_in_order_without_hidden_ones(tmp_path):
    for name in (
        "b.PNG",
        "a/z.jpeg",
        "a/b/c.tif",
        "a.webp",
        "notes.txt",
        ".c.png",
        ".d/e.png",
        "a/._z.jpeg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert found == ["a/b/c.tif", "a/z.jpeg", "a.webp", "b.PNG"]
    assert list_images(tmp_path / "a" / "b") == [tmp_path / "a" / "b" / "c.tif"]


@pytest.mark.parametrize("folder", ["photographs", "nuclei"])
def test_whole_folders_read_in_their_own_size(folder, request):
    paths = list_images(request.getfixturevalue(folder))
    assert len(paths) >= 24
    for path in paths[::8]:
        with Image.open(path) as stored:
            size = stored.size
        image = read_image(path)
        assert image.shape == (size[1], size[0], 3) and image.dtype == np.uint8 and image.std() > 0


@pytest.mark.parametrize("limit", [None, 10**9])
def test_a_notebook_that_changes_pillows_limit_changes_no_picture(
    tmp_path, picture, limit, monkeypatch
):
    Image.fromarray(picture).save(tmp_path / "a.png")
    rows = zlib.compress(bytes((10_000 // 8 + 1) * 10_000), 9)
    _write_png(tmp_path / "bomb.png", None, depth=1, colour=0, size=(10_000, 10_000), packed=rows)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    with pytest.raises(UserError, match="more than 89,478,485 pixels"):
        read_image(tmp_path / "bomb.png")


def test_a_fault_of_our_own_is_not_taken_for_a_broken_picture(tmp_path, picture, monkeypatch):
    Image.fromarray(picture).save(tmp_path / "a.png")
    monkeypatch.setattr("byol_helpers.coco.images._rgb", lambda image: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read_image(tmp_path / "a.png")


def test_broken_metadata_beside_an_orientation_leave_the_picture_upright(tmp_path, picture):
    tiff = b"II*\0\x08\0\0\0\x02\0"
    tiff += struct.pack("<HHII", 0x0112, 3, 1, 6)  # orientation
    tiff += struct.pack("<HHII", 0x010F, 2, 900, 5000)  # the maker's name, beyond the block
    Image.fromarray(picture).save(tmp_path / "a.png", exif=b"Exif\0\0" + tiff + b"\0\0\0\0")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), TURNS[6](picture))


def _write_png(path, pixels, depth, colour, size=None, packed=None):
    """A PNG by hand, for what Pillow does not write: 16-bit colour, and sizes that the pixels do
    not fill.
    """

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    if packed is None:
        size = pixels.shape[1::-1]
        packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
