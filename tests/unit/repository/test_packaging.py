"""The wheel and the source archive hold what a user of them needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata

ROOT = Path(__file__).parents[3]
PACKAGES = ("rowfleet", "submitter", "worker")


def build(kind: str, source: Path, to: Path) -> Path:
    """Build a ``wheel`` or an ``sdist`` as the release does; return the file."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", to],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (made,) = to.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", ROOT, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, unpacked."""
    archive = build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))
    to = tmp_path_factory.mktemp("source")
    shutil.unpack_archive(archive, to)
    (folder,) = to.iterdir()
    return folder


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_says_that_each_package_is_typed(wheel, package):
    assert f"{package}/py.typed" in wheel.namelist()


def test_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel):
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


def test_git_ignores_no_folder_of_the_packages():
    """Git, ruff and hatchling would all pass over it, in silence."""
    folders = {
        f"{path.relative_to(ROOT)}/"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_dir() and path.name != "__pycache__"
    }
    planned = {"submitter/sheets/", "submitter/build/", "rowfleet/dist/"}
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        input="\n".join(folders | planned),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_metadata_is_what_an_index_accepts(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Metadata.from_email(wheel.read(name), validate=True)
    assert metadata.name == "rowfleet"
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.license_files == ["LICENSE"]
    assert metadata.description_content_type == "text/markdown"
    assert metadata.description == (ROOT / "README.md").read_text("utf-8")


def test_wheel_from_the_source_archive_is_the_same(wheel, source, tmp_path):
    again = zipfile.ZipFile(build("wheel", source, tmp_path))
    held = {entry.filename: entry.CRC for entry in wheel.infolist()}
    assert {entry.filename: entry.CRC for entry in again.infolist()} == held
