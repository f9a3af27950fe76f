"""A batch whose rows nearly all fail stops before the money is gone, and goes on when mended."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.standin import Standin
from tests.support.commands import Call
from tests.support.sheets import invoices

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_broken_prompt_stops_the_batch_which_goes_on_once_it_is_mended(
    tmp_path: Path, rowfleet: Run
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 300)
    words = ("local", sheet, "--json", "--slots", 4)
    with Standin.lent(faults=[{"kind": "refusal"}], latency=0.05) as standin:
        stopped = rowfleet(*words, env=standin.environment())
        asked = standin.summary()["calls"]
        standin.configure(faults=[])
        again = rowfleet(*words, env=standin.environment())
    assert stopped.returncode == 2
    said = json.loads(stopped.stdout)
    assert said["status"] == "stopped"
    found = re.match(r"(\d+) of the last (\d+) rows failed", said["reason"])
    assert found is not None
    counted, last = found.groups()
    assert 50 <= int(counted) == int(last) <= said["failed"]
    assert said["reason"].endswith(f"more than 95%: {counted} × the model refused")
    assert asked < 150
    end = json.loads(again.stdout)
    assert (end["status"], end["done"] + end["failed"]) == ("finished", 300)
    assert end["failed"] == asked


@pytest.mark.parametrize("share", ["0%", "101%", "0.2", "x%", "nan%"])
def test_a_share_is_written_in_per_cent(call: Call, tmp_path: Path, share: str) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    code, _, err = call("submit", "--excel", sheet, "--max-failures", share, "--dry-run")
    assert code == 2
    assert "is not a share above 0% and up to 100%, such as 20%" in err
