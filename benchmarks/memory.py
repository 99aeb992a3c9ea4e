"""The most memory that a process has held."""

import re
import sys
from pathlib import Path


def own_peak_memory_mb() -> int:
    """Of this process, in MB.

    On Linux ``ru_maxrss`` would begin with that of the parent, so it is not asked.
    """
    if sys.platform == "linux":
        found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
        if found:
            return round(int(found[1]) / 1024)
    from byol_helpers.core.environment import peak_memory_mb

    return peak_memory_mb()
