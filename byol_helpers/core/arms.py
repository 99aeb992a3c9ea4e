"""The arms of the comparison, and the methods without learning beside them."""

ARM_LABELS = {
    "byol": "BYOL",
    "supervised": "supervised (stand-in)",
    "imagenet": "ImageNet",
    "random": "random",
    "byol-random": "BYOL from random",
    "file": "weights file",
}
BASELINE_LABELS = {  # of background removal: methods without learning, of which the last removes nothing
    "otsu": "Otsu's threshold",
    "k-means": "k-means",
    "watershed": "watershed",
    "active-contours": "active contours",
    "grabcut": "GrabCut",
    "keep-everything": "keep everything",
}
