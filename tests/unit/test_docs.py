"""Docs name only what there is: files, sections, commands, config keys, queries, signals."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from detectors.params import CampaignParams, DetectorParams
from pipelines.cli import COMMANDS
from pipelines.config import FILES
from pipelines.settings import PipelineSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"`([^`\n]+)`")
REPO_PATH = re.compile(r"^(?:schemas|detectors|pipelines|infra|tests|docs)/[A-Za-z0-9_./-]*$")


def slugs(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-") for title in titles}


def keys(data: dict[str, object], above: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in data.items():
        found |= {key, f"{above}{key}"}
        if isinstance(value, dict):
            found |= keys(value, f"{above}{key}.")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_sections(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in slugs(file), f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_commands_exist(page: Path) -> None:
    text = page.read_text()
    for path in filter(REPO_PATH.match, CODE.findall(text)):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
    for command in re.findall(r"\bdistillwatch ([a-z-]+)\b", text):
        known = command in COMMANDS or not re.search(rf"(`|bin/|^)distillwatch {command}\b", text, re.MULTILINE)
        assert known, f"{page.name} names `distillwatch {command}`"
    for module in re.findall(r"python -m ((?:infra|schemas|tests)[a-z_.]+)", text):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page.name} names {module}"
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`|&& )make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name} names make {target}"


def test_the_on_call_page_names_real_keys() -> None:
    known = set(FILES)
    for params in (DetectorParams(), CampaignParams(), PipelineSettings()):
        known |= keys(msgspec.json.decode(msgspec.json.encode(params)))
    table = (ROOT / "docs" / "on-call.md").read_text().split("## What to turn")[1].split("## When")[0]
    for row in (line for line in table.splitlines() if line.startswith("| ") and "what you see" not in line):
        turned = CODE.findall(row.split("|")[2])
        named = [word for word in turned if word not in {"weak", "leave"} and "=" not in word]
        assert set(named) <= known, row


def test_the_analysts_page_names_every_query_and_view() -> None:
    text = (ROOT / "docs" / "analyst.md").read_text()
    queries = {file.stem for file in (ROOT / "infra" / "clickhouse" / "queries").glob("*.sql")}
    table = text.split("## Named queries")[1]
    assert set(CODE.findall(table)) == queries
    migrations = "".join(file.read_text() for file in (ROOT / "infra" / "clickhouse" / "migrations").glob("*.sql"))
    views = set(re.findall(r"CREATE VIEW IF NOT EXISTS (\w+)", migrations))
    assert views <= set(CODE.findall(text.split("## What to read")[1].split("## Named queries")[0]))


def test_no_page_names_a_path_of_somebodys_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(?:home|root|work|tmp|Users)/", page.read_text()), page.name
