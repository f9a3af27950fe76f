"""Draw the page of `rowfleet evaluate` as a browser shows it.

    .venv/bin/python docs/pictures/report.py docs/pictures/report.png

Fills a ledger with 2,000 labelled answers that are drawn at random, and needs `chromium`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.schema import migrate
from tests.support.labelled import Truth, answered_batch, audited

#: The part of the page that is shown, in pixels.
SIZE = "960,1290"
BATCH = "invoices-3f9a2c81d04e"


def main(out: Path) -> None:
    """Make the page, and write the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'ledger.db'}"
        engine = open_ledger(url)
        migrate(engine)
        answered_batch(engine, audited(1, 2_000, Truth(accuracy=0.85, spread=0.1)), batch_id=BATCH)
        engine.dispose()
        against = ["--against", "Checked basis=basis", "--html", "report.html"]
        subprocess.run(
            [sys.executable, "-m", "submitter", "evaluate", BATCH, *against],
            cwd=folder,
            env={**os.environ, "DATABASE_URL": url},
            check=True,
        )
        browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        profile = f"--user-data-dir={folder / 'profile'}"
        shot = [f"--screenshot={out.absolute()}", f"--window-size={SIZE}"]
        page = f"file://{folder / 'report.html'}"
        subprocess.run([*browser, profile, *shot, page], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
