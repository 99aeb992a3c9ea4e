"""From detections and curves to numbers with intervals, and on to verdicts. Reads files, never a
model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
