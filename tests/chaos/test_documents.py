"""1,000 rows that name 2,000 files, 300 of them distinct: 300 are read, whatever is killed."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from rowfleet.ledger.models import Document, Row
from tests.chaos.fleet import Fleet, Sheet, Worker
from tests.chaos.proxy import TcpProxy
from tests.support.documents import pdfs
from tests.support.storage_servers.s3 import BUCKET, S3Server, serving

ROWS, FILES = 1_000, 300

EXTRACTOR = "worker.extraction.extractor"

RECIPE = """
name: audit
analyzer: openai
columns: [Vendor, Invoice]
documents: {columns: Invoice}
prompt: Say what the invoices total.
output: {type: object, properties: {verdict: {type: string}}}
"""


def content(number: int) -> bytes:
    lines = [(50, 700, f"Invoice {number}"), (50, 680, f"Total {number}.00 EUR")]
    return pdfs.pdf(pdfs.show(lines))


def named(row: int) -> str:
    return f"{row % FILES}.pdf; {(7 * row + 1) % FILES}.pdf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "invoices"
    made.mkdir()
    for number in range(FILES):
        (made / f"{number}.pdf").write_bytes(content(number))
    return made


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[tuple[S3Server, TcpProxy]]:
    with serving(tmp_path / "moto.log") as server:
        for number in range(FILES):
            server.put(f"invoices/{number}.pdf", content(number))
        proxy = TcpProxy(("127.0.0.1", server.port))
        yield server, proxy
        proxy.close()


def submitted(fleet: Fleet, home: Path) -> Sheet:
    recipe, file = home / "audit.yaml", home / "audit.csv"
    recipe.write_text(RECIPE)
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["Vendor", "Invoice"])
        writer.writerows([f"Vendor {row}", named(row)] for row in range(ROWS))
    sheet = Sheet("b-audit", file, ROWS, "INV", home / "audit.out.xlsx")
    fleet.sheets.append(sheet)
    fleet.environment["ROWFLEET_SLOTS"] = "16"
    submit = ("submit", "--excel", file, "--recipe", recipe, "--batch-id", sheet.batch_id)
    command = [sys.executable, "-m", "submitter", *map(str, submit)]
    assert fleet._start(command, "submit.log", {}).wait(120) == 0, fleet.said("submit.log")
    return sheet


def start_extractor(fleet: Fleet) -> Worker:
    return fleet.start_worker(
        app=EXTRACTOR, ROWFLEET_SLOTS="2", OPENAI_API_KEY="", OPENAI_BASE_URL=""
    )


def read(fleet: Fleet) -> int:
    with fleet.engine.connect() as connection:
        found = select(Document.id).where(Document.state == "ready")
        return len(connection.execute(found).all())


def kill_whole(fleet: Fleet, worker: Worker) -> int:
    """Kill an extractor and its children at once. Return how many documents it was reading."""
    worker.may_end = True
    os.killpg(worker.process.pid, 9)
    worker.process.wait()
    with fleet.engine.connect() as connection:
        held = select(Document.id).where(
            Document.worker == worker.name, Document.state == "running"
        )
        return len(connection.execute(held).all())


def conclude(fleet: Fleet, in_flight: int) -> None:
    fleet.finish(300)
    with fleet.engine.connect() as connection:
        statuses = Counter(connection.execute(select(Row.status)).scalars())
        documents = connection.execute(
            select(Document.state, Document.attempts, Document.retries, Document.losses)
        ).all()
    assert statuses == {"done": ROWS}
    assert Counter(document.state for document in documents) == {"ready": FILES}
    # One attempt each, but for those that a killed extractor held, or whose storage was cut.
    again = sum(document.attempts - 1 - document.retries for document in documents)
    assert again == sum(document.losses for document in documents)
    assert again <= in_flight
    calls = fleet.calls()
    assert set(calls) == {("b-audit", row) for row in range(ROWS)}
    over = {key: count - 1 for key, count in calls.items() if count > 1}
    assert all(more <= fleet.excused[key] for key, more in over.items()), over
    fleet.record.rows = ROWS
    fleet.record.calls_over, fleet.record.allowed = sum(over.values()), fleet.excused.total()


@pytest.mark.chaos
def test_each_file_is_read_once(fleet: Fleet, tmp_path: Path, folder: Path) -> None:
    fleet.environment["ROWFLEET_DOCUMENTS"] = str(folder)
    start_extractor(fleet)
    fleet.start_worker()
    submitted(fleet, tmp_path)
    conclude(fleet, 0)


@pytest.mark.chaos
def test_extractors_and_workers_are_killed(fleet: Fleet, tmp_path: Path, folder: Path) -> None:
    fleet.environment["ROWFLEET_DOCUMENTS"] = str(folder)
    extractor, worker = start_extractor(fleet), fleet.start_worker()
    submitted(fleet, tmp_path)
    in_flight = 0
    for part in (0.2, 0.5, 0.8):
        wanted = int(FILES * part)
        fleet.until(lambda wanted=wanted: read(fleet) >= wanted, 120)
        with fleet.harm(2):
            in_flight += kill_whole(fleet, extractor)
            fleet.kill(worker)
        extractor, worker = start_extractor(fleet), fleet.start_worker()
    conclude(fleet, in_flight)


@pytest.mark.chaos
def test_the_storage_is_cut(
    fleet: Fleet, tmp_path: Path, storage: tuple[S3Server, TcpProxy]
) -> None:
    server, proxy = storage
    fleet.environment |= {
        **server.owner.environment,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "AWS_REGION": "us-east-1",
        "ROWFLEET_DOCUMENTS": f"s3://{BUCKET}/invoices",
    }
    start_extractor(fleet)
    fleet.start_worker()
    submitted(fleet, tmp_path)
    fleet.until(lambda: read(fleet) >= FILES // 4, 120)
    with fleet.harm():
        proxy.cut()
        fleet.pause(3, 5)
        proxy.heal()
    conclude(fleet, 0)
