"""The size of files and folders, and the names of modules: a reader finds a thing by its name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Folders of code at the top → most lines of a file there. A test file reads as a list.
LINES = {
    "rowfleet": 320,
    "submitter": 320,
    "worker": 320,
    "benchmarks": 320,
    "docs": 320,
    "examples": 320,
    "tests": 500,
}
#: Most modules in one folder, its `__init__` not counted. Folders of tests have one for each case.
MODULES = 14
FOLDERS = ("rowfleet", "submitter", "worker", "benchmarks")
#: Programs in which each module has a name of its own.
PROGRAMS = ("rowfleet", "submitter", "worker")

#: Files that may be longer.
LONG_FILES = {
    "examples/make_master_refunds.py": "a user runs it as one file; half of it is tables of words",
}
#: Modules that may share a name within a program, since the folder says which is which.
SHARED_NAMES = {
    ("rowfleet", "schema"): "the ledger's tables, and a recipe's JSON schema",
    ("submitter", "client"): "the Batch API's, and the cluster's",
    ("submitter", "workbook"): "sheets/ reads one, results/ writes one",
    ("worker", "analyzer"): "each analyzer's folder has one",
}


def long_files(root: Path) -> Iterator[str]:
    """Yield the files that have more lines than their folder allows."""
    for folder, most in LINES.items():
        for file in sorted((root / folder).rglob("*.py")):
            if len(file.read_text("utf-8").splitlines()) > most:
                yield file.relative_to(root).as_posix()


def full_folders(root: Path) -> Iterator[str]:
    """Yield the folders of code that have too many modules."""
    for folder in FOLDERS:
        count: dict[Path, int] = defaultdict(int)
        for module in _modules(root / folder):
            count[module.parent] += 1
        yield from (
            path.relative_to(root).as_posix() for path, found in count.items() if found > MODULES
        )


def shared_names(root: Path) -> Iterator[tuple[str, str]]:
    """Yield each name that two modules of a program have, with the program before it."""
    for program in PROGRAMS:
        names = [module.stem for module in _modules(root / program)]
        yield from ((program, name) for name in sorted(set(names)) if names.count(name) > 1)


def _modules(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*.py")) if file.stem != "__init__")


def test_no_file_is_longer_than_a_reader_holds_in_mind() -> None:
    assert set(long_files(ROOT)) == set(LONG_FILES)


def test_no_folder_has_more_modules_than_a_reader_looks_through() -> None:
    assert set(full_folders(ROOT)) == set()


def test_no_name_says_two_things_in_a_program() -> None:
    assert set(shared_names(ROOT)) == set(SHARED_NAMES)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree whose every figure is at its limit."""
    for folder, most in LINES.items():
        (tmp_path / folder / "part").mkdir(parents=True)
        for number in range(MODULES):
            file = tmp_path / folder / "part" / f"module{number}.py"
            file.write_text("pass\n" * most, "utf-8")
        (tmp_path / folder / "part" / "__init__.py").touch()
    return tmp_path


def test_a_tree_at_its_limits_keeps_the_rules(tree: Path) -> None:
    assert [*long_files(tree), *full_folders(tree), *shared_names(tree)] == []


@pytest.mark.parametrize("folder", LINES)
def test_a_line_too_many_is_found(tree: Path, folder: str) -> None:
    with (tree / folder / "part" / "module3.py").open("a", encoding="utf-8") as file:
        file.write("pass\n")
    assert list(long_files(tree)) == [f"{folder}/part/module3.py"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_module_too_many_is_found(tree: Path, folder: str) -> None:
    (tree / folder / "part" / "one_more.py").touch()
    assert list(full_folders(tree)) == [f"{folder}/part"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_second_module_of_a_name_is_found(tree: Path, program: str) -> None:
    (tree / program / "module3.py").touch()
    assert list(shared_names(tree)) == [(program, "module3")]
