"""Reading the pictures that people have: one function from a file to upright 8-bit RGB pixels."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from byol_helpers.core.errors import UserError

EXTENSIONS = tuple(".bmp .gif .jp2 .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp".split())
# Pillow opens many more, among them formats that start other programs (EPS) or fetch other files.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = Image.MAX_IMAGE_PIXELS  # 89,478,485: Pillow warns above it, we refuse

ORIENTATION_TAG = 0x0112
UPRIGHT = {  # EXIF orientation -> what turns the stored pixels into the picture as it was seen
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path) -> np.ndarray:
    """Read an image file as a viewer shows it.

    - EXIF orientation is applied; of an animation or a multi-page file the first frame is read.
    - Greyscale is repeated over the three channels; palette and CMYK are converted; colour profiles are
      ignored.
    - 16-bit grey is divided by 257 and rounded, so that 65535 becomes 255. Wider grey (32-bit integer, float)
      counts as 16-bit where it is integer and fits; otherwise it has no nominal range, and its own minimum
      and maximum become 0 and 255. Of 16-bit colour the high byte is kept.
    - Transparent pixels are laid over black, as removed background is: a cut-out with transparency reads back
      as the cut-out on black.

    Args:
        path: a file in one of ``FORMATS``; the extension does not matter.

    Returns:
        Array of shape [H, W, 3], uint8, RGB, writable.

    Raises:
        UserError: no such file, empty, truncated, not an image, or more than ``MAX_PIXELS`` pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Pillow's remarks on odd metadata; the pixels are what counts
        return read_image_in_thread(path)


def read_image_in_thread(path: Path) -> np.ndarray:
    """``read_image`` without silencing Pillow's warnings, which is done for all threads at once or not at all."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: {_instead_of_a_file(path)}; check the path")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; replace or remove it")
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            return _rgb(_upright(image))
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: more than {MAX_PIXELS:,} pixels; make the image smaller"
        ) from None
    except UnidentifiedImageError:
        raise UserError(
            f"{path}: not an image of a known format; convert it to PNG or remove it"
        ) from None
    except PermissionError:
        raise UserError(f"{path}: may not be read; change its permissions") from None
    except (
        Exception
    ) as error:  # decoders answer a broken file with errors of any kind, OSError to IndexError
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: does not decode ({said}); replace or remove it") from None


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

    Upper and lower case are alike. Hidden files and folders, whose names begin with a dot, are left out, and
    links to folders are not followed. An empty list is a valid answer.

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


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # first: the TIFF reader turns the pixels itself and then drops the tag
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION_TAG))
    except Exception:  # unreadable metadata holds no orientation to follow; the pixels are whole
        turn = None
    return image if turn is None else image.transpose(turn)


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
    low, high = values.min(), values.max()
    if grey.dtype.kind in "iu" and low >= 0 and high <= 65535:
        low, high = 0, 65535
    if high > low:
        values = (values - low) * (255 / (high - low))
    else:
        values = np.zeros_like(values)
    return np.rint(values).astype(np.uint8)
