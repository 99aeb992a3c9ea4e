"""Reading the pictures that people have: one function from a file to upright 8-bit RGB pixels."""

import contextlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from byol_helpers.core.errors import UserError
from byol_helpers.core.extras import how_to_install

EXTENSIONS = tuple(
    ".bmp .gif .jp2 .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp .avif .heic .heif".split()
)
# Pillow opens many more, among them formats that start other programs (EPS) or fetch other files.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
GREY_BITS = (8, 10, 12, 14, 16)  # bits that cameras and microscopes give, kept in files of 16
MAX_PIXELS = 89_478_485  # Pillow's own default, whatever a notebook has set PIL.Image to
ORIENTATION_TAG = 0x0112
# What Pillow's decoders and its EXIF reader raise on a broken file.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,
    AssertionError,
    struct.error,
    zlib.error,
)


def read_image(path: Path) -> np.ndarray:
    """Read an image file as a viewer shows it.

    - EXIF orientation is applied; of an animation or a multi-page file the first frame is read.
    - Greyscale is repeated over the three channels; palette and CMYK are converted; colour profiles
      are ignored.
    - 16-bit grey is stretched by its true range, the fewest bits of ``GREY_BITS`` that hold its
      brightest pixel: 4095 becomes 255 in a picture of 12 bits, 65535 in one of 16. Wider grey
      (32-bit integer, float) counts as 16-bit where it is integer and fits; otherwise it has no
      nominal range, and its own minimum and maximum become 0 and 255. Of 16-bit colour the high
      byte is kept.
    - HEIC is read where ``pillow-heif`` is installed, AVIF where Pillow was built with it.
    - Transparent pixels are laid over black, as removed background is: a cut-out with transparency
      reads back as the cut-out on black.

    Args:
        path: a file in one of ``FORMATS``, HEIC or AVIF; the extension does not matter.

    Returns:
        Array of shape [H, W, 3], uint8, RGB, writable.

    Raises:
        UserError: no such file, empty, truncated, not an image, or more than ``MAX_PIXELS`` pixels.
    """
    with warnings.catch_warnings():
        # Pillow's remarks on odd metadata; the pixels are what counts.
        warnings.simplefilter("ignore")
        return read_image_in_thread(path)


def read_image_in_thread(path: Path) -> np.ndarray:
    """``read_image`` without silencing Pillow's warnings.

    Warnings are silenced for all threads at once or not at all.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: {_instead_of_a_file(path)}; check the path")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; replace or remove it")
    with open_image(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(path, MAX_PIXELS)
        try:
            image.load()
            _turn_upright(image)
            return _rgb(image)
        except DECODER_ERRORS as error:
            raise _undecodable(path, error) from error


def read_image_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as ``read_image`` gives it, from the head of the file alone."""
    if not path.is_file():
        raise UserError(f"{path}: {_instead_of_a_file(path)}; check the path")
    with open_image(path) as image:
        width, height = image.size
        return (width, height) if _lies_on_its_side(image) else (height, width)


def _lies_on_its_side(image: Image.Image) -> bool:
    """Whether EXIF says that rows are columns."""
    with contextlib.suppress(*DECODER_ERRORS):
        return image.getexif().get(ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    return False


def open_image(path: Path) -> Image.Image:
    """The opened file, its pixels still unread.

    Raises:
        UserError: not an image of a format that is read here, or one that may not be read.
    """
    try:
        return Image.open(path, formats=(*FORMATS, *_add_formats(path)))
    except Image.DecompressionBombError:  # Pillow refuses twice the limit that holds for it
        limit = 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS)
        raise _too_large(path, min(limit, MAX_PIXELS)) from None
    except UnidentifiedImageError:
        raise UserError(
            f"{path}: not an image of a known format; convert it to PNG or remove it"
        ) from None
    except PermissionError:
        raise UserError(f"{path}: may not be read; change its permissions") from None
    except DECODER_ERRORS as error:
        raise _undecodable(path, error) from error


def _add_formats(path: Path) -> list[str]:
    """The format of a telephone's picture, HEIC or AVIF, if it is one and can be read here."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[4:8] != b"ftyp":
        return []
    if head[8:12] in HEIF_BRANDS:
        try:
            import pillow_heif  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise UserError(
                f"{path}: HEIC is read once pillow-heif is installed ({how_to_install('heif')}); "
                "or convert it to JPEG"
            ) from None
        pillow_heif.register_heif_opener()
        return ["HEIF"]
    if head[8:12] in (b"avif", b"avis"):
        if not features.check("avif"):
            raise UserError(f"{path}: AVIF, which this Pillow does not read; convert it to JPEG")
        return ["AVIF"]
    return []


def _too_large(path: Path, limit: int) -> UserError:
    return UserError(f"{path}: more than {limit:,} pixels; make the image smaller")


def _undecodable(path: Path, error: Exception) -> UserError:
    said = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path}: does not decode ({said}); replace or remove it")


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder (``list_files`` with ``EXTENSIONS``).

    Raises:
        UserError: no such folder, or one below it that may not be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); change its permissions"
        )

    return list_files(folder, EXTENSIONS, refuse)


def list_files(
    folder: Path, extensions: Sequence[str], unreadable: Callable[[OSError], None]
) -> list[Path]:
    """All files below a folder with one of the extensions, at any depth, sorted by their path.

    Upper and lower case are alike. Hidden files and folders, whose names begin with a dot, are left
    out, and links to folders are not followed. An empty list is a valid answer.

    Args:
        folder: where to look.
        extensions: in lower case, with their dot.
        unreadable: told of each folder that may not be read.

    Raises:
        UserError: no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the path of a folder with images")
    found = []
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        seen = [name for name in names if not name.startswith(".")]
        found += [Path(parent, name) for name in seen if Path(name).suffix.lower() in extensions]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _instead_of_a_file(path: Path) -> str:
    if path.is_dir():
        return "a folder, not an image"
    if path.exists():
        return "a device or a pipe, not an image"
    return "a link to nothing" if path.is_symlink() else "no such file"


def _turn_upright(image: Image.Image) -> None:
    """Turn the pixels as EXIF says; unreadable metadata holds no orientation to follow.

    In place, so that the pixels are turned before the other metadata are written anew.
    """
    with contextlib.suppress(*DECODER_ERRORS):
        ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_eight_bits(np.asarray(image))[..., None], 3, axis=-1)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, picture)
    return np.array(image.convert("RGB"))


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Grey of more than 8 bits, shape [H, W], scaled to uint8 by the rule in ``read_image``."""
    values = np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)
    low = values.min()
    high = values.max()
    bits = _count_bits(grey)
    if bits:
        low = 0
        high = 2**bits - 1
    if high > low:
        values = (values - low) * (255 / (high - low))
    else:
        values = np.zeros_like(values)
    return np.rint(values).astype(np.uint8)


def _count_bits(grey: np.ndarray) -> int:
    """The fewest bits of ``GREY_BITS`` that hold all values; 0 where they are no whole numbers."""
    if grey.dtype.kind not in "iu" or grey.min() < 0:
        return 0
    return next((bits for bits in GREY_BITS if grey.max() < 2**bits), 0)


def measure_depth(path: Path) -> int:
    """Bits that a 16-bit grey picture uses (``GREY_BITS``); 0 for every other kind."""
    with open_image(path) as image:
        if not image.mode.startswith("I"):
            return 0
        try:
            return _count_bits(np.asarray(image))
        except DECODER_ERRORS as error:
            raise _undecodable(path, error) from error


def explain_size(path: Path, record: dict) -> str:
    """Why a picture has another size than its record says, and the remedy, for a message.

    Cameras store a picture as its sensor saw it and note in EXIF how to turn it; some labelling
    tools draw on the stored pixels.
    """
    with open_image(path) as image:
        stored = image.size == (record.get("width"), record.get("height"))
        if stored and _lies_on_its_side(image):
            return (
                "its EXIF orientation turns it, and the labels were drawn on the unturned pixels: "
                "take the tag out (exiftool -Orientation= FILE) or draw anew"
            )
    return "rotate or resize it back"
