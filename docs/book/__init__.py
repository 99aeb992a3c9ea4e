"""The book: the committed notebooks and the pages of ``docs`` as a site and as one PDF.

Nothing is executed, and nothing of ``byol_helpers`` is imported: what a reader sees are the
committed outputs. ``python -m docs.book site|check|pdf``, in the environment that
``docs/requirements.txt`` describes.

Sphinx and MyST-NB rather than mystmd, because mystmd fetches its theme from a server at every first
build; here a build needs what is installed, and no connection.
"""
