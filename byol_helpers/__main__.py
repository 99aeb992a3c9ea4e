"""``python -m byol_helpers``: see ``cli``."""

import sys

from byol_helpers.cli import main

if __name__ == "__main__":
    sys.exit(main())
