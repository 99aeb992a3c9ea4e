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
# The whole run on two cores. smoke and quick were measured with ``make report`` on a Xeon of
# 2.1 GHz (2 min 37 s, 16 min 54 s); the others are the seconds of a BYOL step (benchmarks,
# byol-step: 8.4 for 16 images) times the profile's images, without its fine-tuning.
CPU_TIMES = {
    "smoke": "3 minutes",
    "quick": "17 minutes",
    "colab": "more than 4 days",
    "thesis": "more than 4 months",
}


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


def describe_machine() -> str:
    """The device, loading torch to find it; without a GPU also how long the profiles take."""
    import torch  # noqa: F401  device_name asks it

    name = device_name()
    if not name.startswith("CPU"):
        return f"Device: {name}"
    times = ", ".join(f"{profile} {said}" for profile, said in CPU_TIMES.items())
    said = f"Device: {name}\nNo GPU here. The whole run takes on 2 cores: {times}."
    if "google.colab" in sys.modules:
        said += " A GPU: menu Runtime, Change runtime type, T4 GPU; then run this cell again."
    elif "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        said += " A GPU: Settings, Accelerator, GPU T4; then run this cell again."
    return said


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
