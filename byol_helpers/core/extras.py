"""Which extra of the installation brings a package that is missing."""

DISTRIBUTION = "byol-instance-segmentation"
# Modules by the extra that brings them, as in pyproject.toml.
MODULES = {
    "train": (
        "torch",
        "torchvision",
        "lightning",
        "cv2",
        "skimage",
        "safetensors",
        "httpx",
        "anyio",
        "tenacity",
    ),
    "video": ("av",),
    "heif": ("pillow_heif",),
    "notebooks": (
        "matplotlib",
        "seaborn",
        "IPython",
        "ipywidgets",
        "papermill",
        "nbconvert",
        "jinja2",
        "latex2mathml",
    ),
}


def how_to_install(extra: str) -> str:
    """The command that brings an extra."""
    return f'pip install "{DISTRIBUTION}[{extra}]"'


def find_extra(module: str | None) -> str | None:
    """The extra that brings a module; None for one that none brings."""
    for extra, modules in MODULES.items():
        if module and module.split(".")[0] in modules:
            return extra
    return None
