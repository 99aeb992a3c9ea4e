"""Labels without a COCO file: a small reader for each form, which gives COCO's content."""

from byol_helpers.coco.formats.labelme import read_labelme
from byol_helpers.coco.formats.mask_images import read_mask_images
from byol_helpers.coco.formats.via import read_via
from byol_helpers.coco.formats.yolo import read_yolo

# A form's name -> the function that reads its files: (tree, {split: names of files}) -> Content.
READERS = {
    "yolo": read_yolo,
    "labelme": read_labelme,
    "via": read_via,
    "masks": read_mask_images,
}
