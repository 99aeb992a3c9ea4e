"""``python -m docs.book site|check|pdf``."""

import argparse
import time
from pathlib import Path

from docs.book.build import BUILD


def main() -> int:
    """Make the site or the PDF, or check the site; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.book", description=__doc__)
    parser.add_argument("what", choices=("site", "check", "pdf"))
    parser.add_argument("--out", type=Path, help="where it goes, or where the site lies")
    options = parser.parse_args()
    start = time.perf_counter()
    if options.what == "check":
        from docs.book.checks import check_site

        count = 0
        for finding in check_site(options.out or BUILD / "site"):
            print(finding, flush=True)
            count += 1
        print(f"{count} findings, {time.perf_counter() - start:.0f} s")
        return int(count > 0)
    if options.what == "site":
        from docs.book.build import build_site

        made = build_site(options.out or BUILD / "site")
        size = sum(path.stat().st_size for path in made.parent.rglob("*") if path.is_file())
        pages = sum("_static" not in path.parts for path in made.parent.rglob("*.html"))
    else:
        from docs.book.pdf import build_pdf

        made, pages = build_pdf(options.out or BUILD / "book.pdf")
        size = made.stat().st_size
    seconds = time.perf_counter() - start
    print(f"{made}: {pages} pages, {size / 1e6:.1f} MB, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
