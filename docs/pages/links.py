"""Checks the built site: `python -m docs.pages.links FOLDER` prints dead links and what pages load from elsewhere.

Links to other sites are counted and not followed: the site must build without a network.
"""

import os
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
_STYLESHEETS = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import\s+['\"](?:https?:)?//")


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, file: Path):
        super().__init__()
        self.anchors, self.links, self.loads = set[str](), list[str](), list[str]()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses and anchors of a tag."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        address = given.get(LOADS.get(tag, ""))
        if address and not address.startswith("data:") and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(address)


def faults(site: Path) -> Iterator[str]:
    """One line for each dead link, and for each file that a page or stylesheet would load from elsewhere."""
    root = os.path.abspath(site)
    pages = {file: Page(Path(file)) for file in sorted(map(os.path.abspath, site.rglob("*.html")))}
    files = {os.path.abspath(file) for file in site.rglob("*") if file.is_file()}
    for file, page in pages.items():
        if os.path.basename(file) == "404.html":  # its addresses begin at the server's root
            continue
        where = os.path.relpath(file, root)
        for address in page.loads:
            if _is_elsewhere(address):
                yield f"{where}: loads {address} from elsewhere"
        for address in [*page.links, *page.loads]:
            if not _is_elsewhere(address) and not _exists(address, file, pages, files):
                yield f"{where}: dead link {address}"
    for style in sorted(site.rglob("*.css")):
        if _STYLESHEETS.search(style.read_text(encoding="utf-8")):
            yield f"{style.relative_to(site)}: loads from elsewhere"


def _is_elsewhere(address: str) -> bool:
    return bool(urlsplit(address).scheme or address.startswith("//"))


def _exists(address: str, file: str, pages: dict[str, Page], files: set[str]) -> bool:
    parts = urlsplit(address)
    target = os.path.normpath(os.path.join(os.path.dirname(file), unquote(parts.path))) if parts.path else file
    anchors = pages[target].anchors if target in pages else None
    return target in files and (not parts.fragment or anchors is None or unquote(parts.fragment) in anchors)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = list(faults(folder))
    every = [Page(file) for file in folder.rglob("*.html")]
    elsewhere = {link for page in every for link in page.links if _is_elsewhere(link)}
    print(*found, sep="\n", end="\n" if found else "")
    print(
        f"{len(every)} pages, {sum(len(page.links) for page in every)} links, {len(elsewhere)} addresses of other sites"
    )
    sys.exit(f"{len(found)} faults in {folder}" if found else 0)
