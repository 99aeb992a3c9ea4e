"""BYOL and the supervised stand-in: what gives the backbone its initial weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
