"""What every room stands on: profiles, the run folder and its stages, files, progress."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
