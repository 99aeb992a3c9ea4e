"""COCO instances files, read in place: train2017's 450 MB cost seconds and a fraction of what
parsing them all takes.

Only the borders of each annotation are looked up; its text stays in the mapped file until somebody
asks for it. A file whose fields are not of COCO's kinds (ids as texts, ``iscrowd`` as false, a byte
order mark, ...) is parsed as a whole instead, and mended (``normalisation``).
"""

import codecs
import json
import mmap
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from byol_helpers.coco.normalisation import (
    Mended,
    Unusable,
    normalise_annotation,
    normalise_categories,
    normalise_images,
    write_counts_as_text,
)
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing

NEEDED = ("images", "annotations", "categories")
_HEADS = ("images", "categories", "licenses", "info")
_OTHER_TASKS = {
    "caption": "captions",
    "segments_info": "panoptic segments",
    "keypoints": "keypoints",
}
_OTHER_TOOLS = {  # a key of the tool's own format -> what it is
    "shapes": "labelme's own format; convert it with labelme2coco",
    "_via_img_metadata": "VIA's own project; export the annotations as COCO",
    "_via_settings": "VIA's own project; export the annotations as COCO",
    "regions": "VIA's own format; export the annotations as COCO",
    "completions": "Label Studio's own format; export it as COCO",
    "labelVersion": "a labelling tool's own format; export it as COCO",
}
_LOOKED_AT = 100  # annotations that tell what a file holds
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_CHUNK = 1 << 24  # bytes looked at together
_UTF8_MARK = b"\xef\xbb\xbf"


class Annotation(msgspec.Struct, gc=False):
    """What an annotation has; ``segmentation`` is the text of its polygons or run lengths."""

    id: int
    image_id: int
    category_id: int
    iscrowd: int = 0
    area: float | None = None
    bbox: list[float] | None = None  # x, y, width, height
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class _Fields(msgspec.Struct, gc=False):
    """``Annotation`` as it is checked: a tuple takes less time than a list, and no mask is cut."""

    id: int
    image_id: int
    category_id: int
    iscrowd: int = 0
    area: float | None = None
    bbox: tuple[float, float, float, float] | None = None


class _File(msgspec.Struct):
    images: list[dict]
    annotations: list[Any]  # their texts, or as parsed
    categories: list[dict]
    licenses: list[dict] = []
    info: dict = {}


class _RawFile(msgspec.Struct):
    images: list[dict]
    annotations: list[msgspec.Raw]
    categories: list[dict]
    licenses: list[dict] = []
    info: dict = {}


class Labels:
    """One instances file: ``images``, ``categories``, ``licenses`` as dictionaries, annotations
    unparsed.

    Whoever goes through it meets ids that are whole numbers and fields of COCO's kinds; ``mended``
    counts what was not so. The content itself is judged by ``validation.check_labels``.

    Args:
        source: the file, or its content.
        name: what messages call a content that comes from no file.

    Raises:
        UserError: no such file, not JSON, or a file of another task.
    """

    def __init__(self, source: Path | str | dict, name: str = "the ground truth"):
        self.file = Path(name if isinstance(source, dict) else source)
        content = _take(source, self.file) if isinstance(source, dict) else _read_file(self.file)
        self.mended = Mended()
        self.images, self.image_ids = normalise_images(content.images, self.mended)
        self.categories, self.category_ids = normalise_categories(content.categories, self.mended)
        self.licenses = content.licenses
        self.info = content.info
        self.left_out: list[str] = []  # lines on what was taken out as invalid
        self.unusable: dict[int, Unusable] = {}  # by position, until they are left out
        self._entries = content.annotations
        if isinstance(source, dict):
            self._entries = [_write_counts_as_text(entry) for entry in self._entries]
        self._owners: array | None = None  # image ids, once the entries are of COCO's kinds

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[msgspec.Raw, Annotation]]:
        """Each annotation as its text and as its fields, in the order of the file."""
        for _, raw, annotation in self.usable():
            yield raw, annotation

    def usable(self, all_needed: bool = True) -> Iterator[tuple[int, msgspec.Raw, Annotation]]:
        """Position, text and fields of each annotation.

        Raises:
            UserError: there are others, too, and ``all_needed``.
        """
        self._normalise()
        if self.unusable and all_needed:
            position, why = next(iter(self.unusable.items()))
            raise UserError(f"{self.file}: annotation number {position} {why}")
        read = msgspec.json.Decoder(Annotation)
        for position, raw in enumerate(self._entries):
            if position not in self.unusable:
                yield position, raw, read.decode(raw)

    def owners(self) -> Iterator[tuple[msgspec.Raw, int]]:
        """Each annotation as its text, and the id of its image."""
        owners = self._normalise()
        if self.unusable:
            next(self.usable())
        return zip(self._entries, owners, strict=True)

    def replace(self, position: int, changes: dict[str, Any]) -> None:
        """Give an annotation other fields."""
        content = self.read(position) | changes
        self._entries[position] = msgspec.Raw(_encode(content, self.file))

    def read(self, position: int) -> dict[str, Any]:
        """All fields of an annotation."""
        try:
            return msgspec.json.decode(self._entries[position])
        except msgspec.MsgspecError:  # a number beyond all floats
            return json.loads(bytes(self._entries[position]))

    def leave_out(self, annotations: Collection[int], images: Collection[int] = ()) -> None:
        """Take out annotations, and images with all that is theirs, by their positions."""
        owners = self._normalise()
        found = [self.images[position].get("id") for position in images]
        ids = {number for number in found if type(number) is int}
        kept = []
        for position, owner in enumerate(owners):
            if position not in annotations and owner not in ids:
                kept.append(position)
        self.images = [record for k, record in enumerate(self.images) if k not in images]
        self.unusable = {k: self.unusable[p] for k, p in enumerate(kept) if p in self.unusable}
        self._entries = [self._entries[position] for position in kept]
        self._owners = array("q", (owners[position] for position in kept))

    def write_subset(self, images: Iterable[dict], out: Path) -> Path:
        """Write the file of some images: their records as given, their annotations as they are, all
        categories.

        Args:
            images: records, whose ids choose the annotations.
            out: instances file to write; it appears under its name when it is whole.
        """
        images = list(images)
        ids = {record["id"] for record in images}
        encode = msgspec.json.encode
        with replacing(Path(out)) as part, open(part, "wb") as file:
            for key in ("info", "licenses", "categories"):
                file.write(b"{" if key == "info" else b",")
                file.write(b'"%s":%s' % (key.encode(), encode(getattr(self, key))))
            records = b",\n".join(encode(record) for record in images)
            file.write(b',"images":[' + records + b'],"annotations":[')
            comma = b""
            for raw, image_id in self.owners():
                if image_id in ids:
                    file.write(comma)
                    file.write(memoryview(raw))
                    comma = b",\n"
            file.write(b"]}\n")
        return Path(out)

    def _normalise(self) -> array:
        """Image ids of the annotations, all of which are of COCO's kinds from now on."""
        if self._owners is None:
            self._owners = self._read_owners()
        if self._owners is None:
            self._owners = self._mend()
        return self._owners

    def _read_owners(self) -> array | None:
        """Image ids, None where an annotation is not as COCO's are, or two share an id."""
        decode = msgspec.json.Decoder(_Fields).decode
        ids = array("q")
        owners = array("q")
        add_id = ids.append
        add_owner = owners.append
        try:
            for raw in self._entries:
                fields = decode(raw)
                add_id(fields.id)
                add_owner(fields.image_id)
        except (msgspec.MsgspecError, OverflowError, TypeError):
            return None
        if self.image_ids.named or self.category_ids.named:
            return None
        return owners if _are_distinct(ids) else None

    def _mend(self) -> array:
        """Normalise every annotation, and number them anew where their own ids do not serve."""
        normal: list[dict[str, Any]] = []
        for position, entry in enumerate(self._entries):
            try:
                content = msgspec.json.decode(entry) if isinstance(entry, msgspec.Raw) else entry
                content, kinds = normalise_annotation(content, self.image_ids, self.category_ids)
            except (Unusable, msgspec.MsgspecError) as error:
                why = (
                    error
                    if isinstance(error, Unusable)
                    else Unusable("annotation record", str(error))
                )
                self.unusable[position] = why
                normal.append({"id": position + 1, "image_id": -1, "category_id": -1})
                continue
            for kind in kinds:
                self.mended.add("annotations", kind, position)
            normal.append(content)
        ids = [content["id"] for content in normal]
        if None in ids or len(set(ids)) < len(ids):
            for position, content in enumerate(normal):
                content["id"] = position + 1
                self.mended.add("annotations", "numbered anew", position)
        self._entries = [msgspec.Raw(_encode(content, self.file)) for content in normal]
        return array("q", (content["image_id"] for content in normal))


class AnnotationsByImage(Mapping):
    """Annotations by image id, as dictionaries that are parsed when asked for.

    Images without any are not keys.
    """

    def __init__(self, labels: Labels):
        self.file = labels.file
        self._texts: dict[int, list[msgspec.Raw]] = {}
        for raw, image_id in labels.owners():
            self._texts.setdefault(image_id, []).append(raw)

    def __getitem__(self, image_id: int) -> list[dict]:
        return [msgspec.json.decode(text) for text in self._texts[image_id]]

    def __iter__(self) -> Iterator[int]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __reduce__(self) -> tuple:
        return _group_annotations, (self.file,)  # a worker process maps the file for itself


def _group_annotations(file: Path) -> AnnotationsByImage:
    return AnnotationsByImage(Labels(file))


def _are_distinct(ids: array) -> bool:
    if all(map(int.__lt__, ids, ids[1:])):  # ascending, as most files have them
        return True
    return len(set(ids)) == len(ids)


def _write_counts_as_text(entry: Any) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("segmentation"), dict):
        return entry
    return entry | {"segmentation": write_counts_as_text(entry["segmentation"])}


def _encode(content: object, file: Path) -> bytes:
    try:
        return msgspec.json.encode(content)
    except (UnicodeEncodeError, msgspec.MsgspecError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{file}: an annotation cannot be written ({error}); export it again"
        ) from None


def map_file(file: Path, kind: str) -> memoryview:
    """The bytes of a file, mapped, without a byte order mark; UTF-16 becomes UTF-8.

    Raises:
        UserError: no such file, a folder, empty, or a compressed one.
    """
    if file.is_dir():
        raise UserError(f"{file}: a folder; give the path of {kind}")
    if not file.is_file():
        raise UserError(f"{file}: no such file; give the path of {kind}")
    if not file.stat().st_size:
        raise UserError(f"{file}: not valid JSON (it is empty); restore or re-export the file")
    with open(file, "rb") as opened:
        text = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
    start = bytes(text[:4])
    if start[:2] == b"\x1f\x8b" or start == b"PK\x03\x04":
        raise UserError(f"{file}: a compressed file; unpack it and give the JSON in it")
    if encoding := _MARKS.get(start[:2]):
        try:
            return memoryview(bytes(text).decode(encoding).encode())
        except UnicodeError as error:
            raise UserError(f"{file}: not valid UTF-16 ({error}); export it again") from None
    _refuse_other_encodings(text, file)
    return text[3:] if start[:3] == _UTF8_MARK else text


def _refuse_other_encodings(text: memoryview, file: Path) -> None:
    """msgspec looks at the characters of what it decodes only, and annotations wait for that."""
    read = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(text), _CHUNK):
        chunk = bytes(text[start : start + _CHUNK])
        last = start + _CHUNK >= len(text)
        if chunk.isascii() and not read.getstate()[0]:
            continue
        try:
            read.decode(chunk, final=last)
        except UnicodeDecodeError as error:
            place = start + error.start
            said = f"not valid JSON (byte {place:,} is not UTF-8)"
            raise UserError(f"{file}: {said}; save it as UTF-8") from None


def parse_json(text: memoryview, file: Path) -> Any:
    """The content of a JSON text, NaN and infinity among its numbers if they are there.

    Raises:
        UserError: not JSON, or JSON lines.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        said = error
    try:
        return json.loads(bytes(text))
    except (ValueError, RecursionError):
        pass
    first = bytes(text[:100_000]).lstrip().partition(b"\n")[0]
    if first.startswith(b"{") and _is_json(first):
        raise UserError(f"{file}: JSON lines, an object a line; write one COCO object instead")
    raise UserError(f"{file}: not valid JSON ({said}); restore or re-export the file") from None


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _read_file(file: Path) -> _File | _RawFile:
    text = map_file(file, "a COCO instances file")
    try:
        content = msgspec.json.decode(text, type=_RawFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        content = _take(_read_fields(text, file), file)
    _refuse_other_tasks(content.annotations, file)
    return content


def _read_fields(text: memoryview, file: Path) -> Any:
    """A file's content, its annotations as texts where JSON's own rules allow it."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        content = {key: msgspec.json.decode(raw) for key, raw in fields.items() if key in _HEADS}
        texts = msgspec.json.decode(fields["annotations"], type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        return parse_json(text, file)
    return content | {"annotations": texts}


def _take(content: Any, file: Path) -> _File:
    """The lists of a file; what else may be null or of another form is left."""
    if not isinstance(content, dict):
        raise UserError(f"{file}: not a COCO instances file ({_name_content(content)})")
    missing = [key for key in NEEDED if not isinstance(content.get(key), list)]
    if missing:
        raise UserError(f"{file}: not a COCO instances file ({_name_lack(content, missing)})")
    for key, noun in (("images", "image"), ("categories", "category")):
        for number, entry in enumerate(content[key]):
            if not isinstance(entry, dict):
                said = f"{noun} number {number} is no object with fields"
                raise UserError(f"{file}: {said}; export the file again")
    licenses = content.get("licenses")
    kept = [entry for entry in licenses if isinstance(entry, dict)] if licenses else []
    info = content.get("info")
    info = info if isinstance(info, dict) else {}
    return _File(content["images"], content["annotations"], content["categories"], kept, info)


def _name_content(content: object) -> str:
    """What a JSON file holds that is no object."""
    if not isinstance(content, list):
        kind = "text" if isinstance(content, str) else "single value"
        return f"it holds a {kind}; it needs images, annotations, categories"
    first = content[0] if content and isinstance(content[0], dict) else {}
    tool = next((said for key, said in _OTHER_TOOLS.items() if key in first), "")
    if tool or ("annotations" in first and "data" in first):
        return tool or _OTHER_TOOLS["completions"]
    return "it holds a list of detections or records; it needs images, annotations, categories"


def _name_lack(content: dict[str, Any], missing: list[str]) -> str:
    """What an object without the lists of an instances file is, as far as it is known."""
    inner = next((value for value in content.values() if isinstance(value, dict)), {})
    for key, said in _OTHER_TOOLS.items():
        if key in content or key in inner:
            return said
    other = _name_task(content["annotations"]) if "annotations" not in missing else ""
    if other:
        return f"it holds {other}; take the file instances_*.json"
    if "images" not in missing and "annotations" in missing:
        return "it lists images without annotations; take the file instances_*.json"
    wrong = [key for key in missing if key in content]
    return f"its {wrong[0]} is no list" if wrong else f"it needs {', '.join(missing)}"


def _refuse_other_tasks(annotations: list[Any], file: Path) -> None:
    if other := _name_task(annotations):
        said = f"it holds {other}"
        raise UserError(
            f"{file}: not a COCO instances file ({said}); take the file instances_*.json"
        )


def _name_task(annotations: list[Any]) -> str:
    """What annotations of another task are called; empty where objects have masks or boxes."""
    looked_at = []
    for entry in annotations[:_LOOKED_AT]:
        content = msgspec.json.decode(entry) if isinstance(entry, msgspec.Raw) else entry
        looked_at.append(content if isinstance(content, dict) else {})
    if any("segmentation" in content for content in looked_at):
        return ""
    keys = {key for content in looked_at for key in content}
    return next((name for key, name in _OTHER_TASKS.items() if key in keys), "")
