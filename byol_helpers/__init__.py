"""BYOL for instance segmentation: the package behind the notebooks.

What a notebook or a script needs stands here, named in ``__init__.pyi``: ``open_run``, each stage,
and what reads their results. A name's module is imported when the name is first used, so that
``import byol_helpers`` is quick and loads no torch. Each room offers its own names the same way,
for example ``from byol_helpers.pretraining import BYOL``.
"""

import os

import lazy_loader

__version__ = "0.1.0"
# Before torch is loaded, which reads it then: threads that wait for each other sleep instead of
# spinning, so that another program on one of the cores does not make a training several times
# slower. Numbers are the same. What the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
