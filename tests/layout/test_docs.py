"""Documents refer only to what exists: files, headings, and diagrams in the architecture."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.parts import ROOT

PAGES = sorted(
    page.relative_to(ROOT)
    for folder in ("docs", "examples", "guest", "")
    for page in (ROOT / folder).glob("**/*.md" if folder else "*.md")
    if "node_modules" not in page.parts and "target" not in page.parts
)
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
FILE = re.compile(r"`((?:backend|portalis|nim|tests|benchmarks|examples|omniverse|docs)/[\w./-]+)`")


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_to_a_file_refers_to_an_existing_file(page: Path) -> None:
    links = [
        target for target, _ in LINK.findall(prose(page)) if "://" not in target and not target.startswith("mailto:")
    ]
    assert [target for target in links if not (ROOT / page.parent / target).exists()] == []


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub generates them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    links = [
        (ROOT / page.parent / target if target else ROOT / page, anchor)
        for target, anchor in LINK.findall(prose(page))
        if anchor and "://" not in target
    ]
    assert [f"{path}{anchor}" for path, anchor in links if anchor not in anchors(path)] == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if re.match(r"docs/architecture/(\d|plan)", str(page))], ids=str
)
def test_every_page_of_the_architecture_has_a_diagram(page: Path) -> None:
    assert "```mermaid\n" in (ROOT / page).read_text()


@pytest.mark.parametrize("page", [page for page in PAGES if page.parts[:2] == ("docs", "architecture")], ids=str)
def test_every_path_in_the_architecture_pages_exists(page: Path) -> None:
    assert [path for path in FILE.findall(prose(page)) if not (ROOT / path).exists()] == []


def test_the_description_of_a_request_names_the_source_files() -> None:
    page = prose(Path("docs/architecture/3-runtime.md"))
    assert {"backend/program.py", "backend/native/call.c", "backend/adapter/adapter.c"} <= set(FILE.findall(page))
