"""Mask R-CNN: the dataset, the engine and the metrics of its training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
