"""COCO instances files, read in place: train2017's 450 MB cost seconds and a fraction of what parsing them all takes.

Only the borders of each annotation are looked up; its text stays in the mapped file until somebody asks for it.
"""

import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing

OTHER_TASKS = {
    "caption": "captions",
    "segments_info": "panoptic segments",
    "keypoints": "keypoints",
    "score": "detections, not annotations",
}


class Annotation(msgspec.Struct, gc=False):
    """What every annotation must have; ``segmentation`` is the text of its polygons or run lengths."""

    id: int
    image_id: int
    category_id: int
    iscrowd: int = 0
    area: float | None = None
    bbox: list[float] | None = None  # x, y, width, height
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class _Owner(msgspec.Struct, gc=False):
    image_id: int


class _File(msgspec.Struct):
    images: list[dict]
    annotations: list[msgspec.Raw]
    categories: list[dict]
    licenses: list[dict] = []
    info: dict = {}


class Labels:
    """One instances file: ``images``, ``categories``, ``licenses`` as dictionaries, annotations unparsed.

    Raises:
        UserError: no such file, not JSON, a file of another task, or an entry whose id is not a whole number.
    """

    def __init__(self, file: Path):
        self.file = Path(file)
        self._content = _content(self.file)
        self.images, self.categories = self._content.images, self._content.categories
        self.licenses, self.info = self._content.licenses, self._content.info

    def __len__(self) -> int:
        return len(self._content.annotations)

    def __iter__(self) -> Iterator[tuple[msgspec.Raw, Annotation]]:
        """Each annotation as its text and as its fields, in the order of the file."""
        read = msgspec.json.Decoder(Annotation)
        for number, raw in enumerate(self._content.annotations):
            try:
                yield raw, read.decode(raw)
            except msgspec.MsgspecError as error:
                raise UserError(
                    f"{self.file}: annotation number {number}: {error}; export the file again"
                ) from None

    def owners(self) -> Iterator[tuple[msgspec.Raw, int]]:
        """Each annotation as its text, and the id of its image."""
        read = msgspec.json.Decoder(_Owner)
        for raw in self._content.annotations:
            yield raw, read.decode(raw).image_id

    def write_subset(
        self, images: Iterable[dict], out: Path, boxes: Mapping[int, list[float]] | None = None
    ) -> Path:
        """Write the file of some images: their records as given, their annotations as they are, all categories.

        Args:
            images: records, whose ids choose the annotations.
            out: instances file to write; it appears under its name when it is whole.
            boxes: corrected ``bbox`` by annotation id; every other annotation keeps its very text.
        """
        images = list(images)
        ids, boxes, encode = {record["id"] for record in images}, boxes or {}, msgspec.json.encode
        with replacing(Path(out)) as part, open(part, "wb") as file:
            for key in ("info", "licenses", "categories"):
                file.write(b"{" if key == "info" else b",")
                file.write(b'"%s":%s' % (key.encode(), encode(getattr(self, key))))
            file.write(
                b',"images":['
                + b",\n".join(encode(record) for record in images)
                + b'],"annotations":['
            )
            comma = b""
            for raw, image_id in self.owners():
                if image_id in ids:
                    file.write(comma + (_boxed(raw, boxes) if boxes else memoryview(raw)))
                    comma = b",\n"
            file.write(b"]}\n")
        return Path(out)


class AnnotationsByImage(Mapping):
    """Annotations by image id, as dictionaries that are parsed when asked for; images without any are not keys."""

    def __init__(self, labels: Labels):
        self.file, self._texts = labels.file, {}
        for raw, image_id in labels.owners():
            self._texts.setdefault(image_id, []).append(raw)

    def __getitem__(self, image_id: int) -> list[dict]:
        return [msgspec.json.decode(text) for text in self._texts[image_id]]

    def __iter__(self) -> Iterator[int]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __reduce__(self) -> tuple:
        return _by_image, (self.file,)  # a worker process maps the file for itself


def _by_image(file: Path) -> AnnotationsByImage:
    return AnnotationsByImage(Labels(file))


def _boxed(raw: msgspec.Raw, boxes: Mapping[int, list[float]]) -> bytes:
    """The text of an annotation, with another box where there is one."""
    content = msgspec.json.decode(raw)
    if content["id"] not in boxes:
        return bytes(raw)
    return msgspec.json.encode(content | {"bbox": boxes[content["id"]]})


def _content(file: Path) -> _File:
    if not file.is_file():
        raise UserError(f"{file}: no such file; give the path of a COCO instances file")
    if not file.stat().st_size:
        raise UserError(f"{file}: not valid JSON (it is empty); restore or re-export the file")
    with open(file, "rb") as opened:
        text = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        content = msgspec.json.decode(text, type=_File)
    except msgspec.ValidationError as error:
        raise UserError(f"{file}: not a COCO instances file ({_why(text, error)})") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: not valid JSON ({error}); restore or re-export the file"
        ) from None
    if content.annotations and (other := _other_task(content.annotations[0])):
        raise UserError(
            f"{file}: not a COCO instances file (it holds {other}); take the file instances_*.json"
        )
    return content


def _other_task(annotation: msgspec.Raw) -> str:
    """What an annotation of another task is called; empty for an object's."""
    keys = msgspec.json.decode(annotation)
    return next((name for key, name in OTHER_TASKS.items() if key in keys), "")


def _why(text: mmap.mmap, error: msgspec.ValidationError) -> str:
    """What is wrong with a file that is JSON, for the message."""
    content = msgspec.json.decode(text, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    if isinstance(content, list):
        return "it holds a list of detections or records; it needs images, annotations, categories"
    missing = [key for key in ("images", "annotations", "categories") if key not in content]
    if missing == ["categories"]:
        try:
            other = _other_task(
                msgspec.json.decode(content["annotations"], type=list[msgspec.Raw])[0]
            )
        except (msgspec.MsgspecError, IndexError):
            other = ""
        if other:
            return f"it holds {other}; take the file instances_*.json"
    if missing == ["annotations", "categories"] or missing == ["annotations"]:
        return "it lists images without annotations; take the file instances_*.json"
    return f"it needs {', '.join(missing)}" if missing else str(error)
