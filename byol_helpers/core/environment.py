"""What this machine is: device, memory, versions of the packages that decide numbers."""

import os
import sys
from importlib import metadata

import psutil

VERSIONS_OF = (
    "torch",
    "torchvision",
    "lightning",
    "numpy",
    "pycocotools",
    "pillow",
    "opencv-python-headless",
    "scikit-image",
)


def peak_memory_mb() -> int:
    """Most memory that this process has held so far; on a GPU that of the GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / (1 << 20))
    if sys.platform == "win32":
        return round(psutil.Process().memory_info().peak_wset / (1 << 20))
    import resource  # not on Windows

    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def device_name() -> str:
    """The accelerator in use, or the number of CPU cores.

    Asks torch only where it is loaded already.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {os.cpu_count()} cores"


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide numbers, read from their metadata.

    Nothing is imported.
    """
    found = {}
    for name in VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
