"""BYOL for instance segmentation: the package behind the notebooks.

Importing it is cheap: nothing here loads torch. Each stage is imported from where it lives, for
example ``from byol_helpers import pipeline``.
"""

__version__ = "0.1.0"
