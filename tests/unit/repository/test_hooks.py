"""What a contributor's git and editor do with a file before CI sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CONFIG = ".pre-commit-config.yaml"
HOOKS = (ROOT / CONFIG).read_text("utf-8")
PRE_COMMIT = Path(sys.executable).with_name("pre-commit")
UNTIDY = "import os\nx = {'a' :1}\n"
TIDY = 'x = {"a": 1}\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the project's hooks, its environment and nothing else."""
    for name in (CONFIG, "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    _run(tmp_path, "git", "init", "--quiet")
    return tmp_path


def _run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    quiet = {"HOME": str(folder), "PRE_COMMIT_HOME": str(folder / "pre-commit"), "SKIP": "mypy"}
    roles = ("AUTHOR", "COMMITTER")
    who = {f"GIT_{role}_{key}": "x" for role in roles for key in ("NAME", "EMAIL")}
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **quiet, **who},
        capture_output=True,
        text=True,
        check=False,
    )


def _commit(folder: Path, message: str, *files: str) -> subprocess.CompletedProcess[str]:
    _run(folder, "git", "add", *files)
    return _run(folder, "git", "commit", "--message", message)


def test_configuration_is_valid_for_pre_commit(clone):
    done = _run(clone, PRE_COMMIT, "validate-config", CONFIG)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("linter", ["ruff check", "ruff format", "mypy"])
def test_linter_is_the_one_that_make_lint_runs(linter):
    (hooks,) = [repository["hooks"] for repository in yaml.safe_load(HOOKS)["repos"]]
    (entry,) = [hook["entry"] for hook in hooks if hook["name"] == linter]
    assert entry.startswith(f".venv/bin/{linter}")
    assert f"$(BIN)/{linter}" in (ROOT / "Makefile").read_text("utf-8")


def test_commit_is_tidied_and_taken_the_second_time(clone):
    assert _run(clone, PRE_COMMIT, "install").returncode == 0
    (clone / "module.py").write_text(UNTIDY, "utf-8")
    first = _commit(clone, "Add a module", "module.py")
    assert first.returncode == 1, first.stdout + first.stderr
    assert "files were modified by this hook" in first.stderr
    assert (clone / "module.py").read_text("utf-8") == TIDY
    second = _commit(clone, "Add a module", "module.py")
    assert second.returncode == 0, second.stdout + second.stderr


@pytest.mark.parametrize(("length", "code"), [(72, 0), (73, 1)])
def test_subject_of_a_commit_has_at_most_72_characters(clone, length, code):
    assert _run(clone, PRE_COMMIT, "install").returncode == 0
    done = _commit(clone, f"{'×' * length}\n\n{'long ' * 40}", "Makefile")
    assert done.returncode == code, done.stdout + done.stderr


def test_every_text_file_is_as_editorconfig_wants_it():
    """UTF-8, LF, no space at the end of a line, an end of the last line, tabs for make alone.

    Pictures and the examples' documents are left as the programs that make them write them.
    """
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    texts = {
        name: content
        for name in names
        if (ROOT / name).is_file()
        and not name.endswith(".svg")
        and not name.startswith("examples/invoices/")
        and b"\0" not in (content := (ROOT / name).read_bytes())
    }
    assert len(texts) > 100
    assert [name for name, text in texts.items() if not _is_as_wanted(name, text)] == []


def _is_as_wanted(name: str, content: bytes) -> bool:
    text = content.decode("utf-8")
    lines = text.split("\n")
    return (
        lines[-1] == ""
        and "\r" not in text
        and not any(line != line.rstrip(" \t") for line in lines)
        and ("\t" not in text or name == "Makefile")
    )
