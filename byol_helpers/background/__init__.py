"""Background removal (thesis 3.3.3): masks from detections, cut-outs, and how well they match
the ground truth."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
