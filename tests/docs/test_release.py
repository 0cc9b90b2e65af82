"""What a release consists of names one version, and is found where the pages say."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import yaml

from keeptune import __version__

ROOT = Path(__file__).parents[2]
differing = runpy.run_path(str(ROOT / ".ci" / "release.py"))["differing"]


def test_a_tag_goes_with_package_citation_and_a_dated_part_of_the_changelog(tmp_path: Path) -> None:
    (tmp_path / "src" / "keeptune").mkdir(parents=True)
    (tmp_path / "src" / "keeptune" / "__init__.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 1.2.0\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.0 (2030-01-31)\n\n## 1.1.0 (2029-01-31)\n")
    assert differing("v1.2.0", tmp_path) == []
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## 1.3.0 (unreleased)\n\n## 1.1.0 (2029-01-31)\n")
    assert differing("v1.2.0", tmp_path) == ["CHANGELOG.md: 1.1.0, and the tag is v1.2.0"]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert {"cff-version", "message", "title", "authors", "license"} <= citation.keys()


def test_the_release_is_built_tried_and_published_without_a_token() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["publish"]["needs"] == "build" and jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in text
    for script in re.findall(r"python (\S+\.py)", text):
        assert (ROOT / script).is_file()


def test_the_image_copies_what_the_context_has_and_installs_what_there_is() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    context = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    }
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert copied == context and all((ROOT / name).exists() for name in copied)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (wanted,) = re.findall(r'"\.\[([\w,]+)\]"', "\n".join(lines))
    assert set(wanted.split(",")) <= extras.keys()
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
