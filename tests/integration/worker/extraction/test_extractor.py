"""A real extractor on a real broker: it reads what rows name, each file once, and loses nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, select, update

from rowfleet.documents.encoding import decode
from rowfleet.documents.extracted import extractor_version
from rowfleet.documents.places.folders import open_folder
from rowfleet.documents.places.root import Root
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.document_records import Named, NewDocument
from rowfleet.ledger.models import Document, DocumentText
from rowfleet.ledger.queries import document_facts
from rowfleet.ledger.transitions import recording
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from tests.support.documents import pdfs
from tests.support.ledger import make_batch, statuses
from tests.support.named_documents import states
from tests.support.workers import Start, feed

EXTRACTOR = "worker.extraction.extractor"

Eventually = Callable[..., None]


@pytest.fixture
def invoices(tmp_path: Path) -> Path:
    folder = tmp_path / "invoices"
    folder.mkdir()
    for number in range(4):
        page = pdfs.show([(50, 700, f"Invoice {number}"), (50, 680, f"Total 10{number}.00 EUR")])
        (folder / f"{number}.pdf").write_bytes(pdfs.pdf(page))
    return folder


def version(root: Path, path: str) -> str | None:
    with suppress(UnreadableError):
        seen = open_folder(Root(str(root))).look(path)
        return None if seen is None else seen.version
    return None


def name(
    engine: Engine, settings: Settings, root: Path, rows: Sequence[Sequence[str]], batch: str = "b"
) -> None:
    """Record a batch whose rows name these files."""
    made = {
        path: NewDocument(str(root), path, version(root, path), extractor_version("eng"))
        for row in rows
        for path in row
    }
    named = Named(
        {n: [(made[path].id, "Invoice") for path in row] for n, row in enumerate(rows)},
        {document.id: document for document in made.values()},
        settings.queue,
    )
    make_batch(engine, 0, batch_id=batch, queue=settings.queue, loaded=False)
    with engine.begin() as connection:
        cells = [(number, ["x"], None) for number in range(len(rows))]
        recording.record_rows(connection, batch, cells, named=named)
        recording.finish_loading(connection, batch)


def ended(engine: Engine) -> bool:
    return set(states(engine).values()) <= {"ready", "failed"}


def test_each_file_is_read_once_and_its_rows_become_due(
    fleet: Settings, ledger: Engine, start: Start, invoices: Path, eventually: Eventually
) -> None:
    settings = fleet.model_copy(
        update={"documents": str(invoices), "slots": 2, "openai_api_key": None}
    )
    name(ledger, settings, invoices, [["0.pdf", "1.pdf"], ["1.pdf"], ["2.pdf"], ["none.pdf"]])
    feed(ledger, settings)
    start(settings, app=EXTRACTOR)
    eventually(lambda: set(statuses(ledger)) == {"queued"}, 60)
    assert states(ledger) == {
        "0.pdf": "ready",
        "1.pdf": "ready",
        "2.pdf": "ready",
        "none.pdf": "failed",
    }
    with ledger.connect() as connection:
        attempts = connection.execute(select(Document.attempts)).scalars()
        assert set(attempts) == {1}
        first, second = document_facts.of_row(connection, "b", 0)
        assert (first.path, second.path) == ("0.pdf", "1.pdf")
        assert first.text_id is not None
        text = document_facts.text_of(connection, first.text_id)
        (missing,) = document_facts.of_row(connection, "b", 3)
        hashes = connection.execute(
            select(Document.content_hash, Document.size).where(Document.path == "0.pdf")
        ).one()
    assert text is not None
    assert "Total 100.00 EUR" in decode(text).pages[0].text
    assert missing.reason == Unread.MISSING
    content = (invoices / "0.pdf").read_bytes()
    assert tuple(hashes) == (hashlib.sha256(content).hexdigest(), len(content))
    queue = Queue(settings).of_documents()
    eventually(lambda: queue.depth() == (0, 0))


def test_a_second_batch_names_the_same_files_and_nothing_is_read_again(
    fleet: Settings, ledger: Engine, start: Start, invoices: Path, eventually: Eventually
) -> None:
    settings = fleet.model_copy(update={"documents": str(invoices), "slots": 1})
    (invoices / "copy.pdf").write_bytes((invoices / "0.pdf").read_bytes())
    name(ledger, settings, invoices, [["0.pdf"], ["copy.pdf"]])
    feed(ledger, settings)
    start(settings, app=EXTRACTOR)
    eventually(lambda: set(statuses(ledger)) == {"queued"}, 60)
    name(ledger, settings, invoices, [["0.pdf"], ["copy.pdf"]], batch="later")
    eventually(lambda: set(statuses(ledger, "later")) == {"queued"}, 60)
    with ledger.connect() as connection:
        assert set(connection.execute(select(Document.attempts)).scalars()) == {1}
        assert len(connection.execute(select(DocumentText.id)).all()) == 1, "the same content"


def test_no_folder_but_its_own_is_read(
    fleet: Settings,
    ledger: Engine,
    start: Start,
    invoices: Path,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    settings = fleet.model_copy(update={"documents": str(invoices), "slots": 1})
    (tmp_path / "secret.pdf").write_text("secret")
    (invoices / "link.pdf").symlink_to(tmp_path / "secret.pdf")
    name(ledger, settings, tmp_path, [["secret.pdf"]])
    name(ledger, settings, invoices, [["link.pdf"]], batch="later")
    feed(ledger, settings)
    start(settings, app=EXTRACTOR)
    eventually(lambda: states(ledger)["link.pdf"] == "failed", 60)

    def is_put_off() -> bool:
        with ledger.connect() as connection:
            found = select(Document.state, Document.retries).where(Document.path == "secret.pdf")
            state, retries = connection.execute(found).one()
        return state != "ready" and retries > 0

    eventually(is_put_off, 60)
    with ledger.connect() as connection:
        (document,) = document_facts.of_row(connection, "later", 0)
        assert connection.execute(select(DocumentText.id)).all() == []
    assert document.reason == Unread.OUTSIDE_ROOT


@pytest.mark.parametrize("victim", ["all of it", "the process that reads"])
def test_what_a_killed_extractor_held_is_read_by_another(
    fleet: Settings,
    ledger: Engine,
    start: Start,
    invoices: Path,
    eventually: Eventually,
    victim: str,
) -> None:
    settings = fleet.model_copy(update={"documents": str(invoices), "slots": 1})
    name(ledger, settings, invoices, [[f"{number}.pdf"] for number in range(4)])
    feed(ledger, settings)
    extractor = start(settings, app="tests.support.slow_extractor")
    eventually(lambda: "running" in states(ledger).values(), 60)
    if victim == "all of it":
        os.killpg(extractor.pid, signal.SIGKILL)
        extractor.wait()
        start(settings, app=EXTRACTOR)
    else:
        kill_the_reader(extractor)
    (invoices / "go").touch()
    eventually(lambda: set(states(ledger).values()) == {"ready"}, 120)
    eventually(lambda: set(statuses(ledger)) == {"queued"}, 60)
    with ledger.connect() as connection:
        attempts = sorted(connection.execute(select(Document.attempts)).scalars())
        losses = sum(connection.execute(select(Document.losses)).scalars())
    assert attempts == [1, 1, 1, 2], "only what was being read is read again"
    assert losses == 1


def kill_the_reader(extractor: subprocess.Popen[bytes]) -> None:
    """Kill the child that runs tasks; the parent goes on."""
    children = psutil.Process(extractor.pid).children()
    for child in children:
        if "celery" in " ".join(child.cmdline()):
            child.kill()


def test_an_extractor_that_is_told_to_end_finishes_its_document(
    fleet: Settings, ledger: Engine, start: Start, invoices: Path, eventually: Eventually
) -> None:
    settings = fleet.model_copy(update={"documents": str(invoices), "slots": 1})
    name(ledger, settings, invoices, [[f"{number}.pdf"] for number in range(4)])
    feed(ledger, settings)
    extractor = start(settings, app="tests.support.slow_extractor")
    eventually(lambda: "running" in states(ledger).values(), 60)
    extractor.send_signal(signal.SIGTERM)
    (invoices / "go").touch()
    assert extractor.wait(60) == 0
    assert "running" not in states(ledger).values()
    assert "ready" in states(ledger).values()
    with ledger.begin() as connection:
        assert set(connection.execute(select(Document.losses)).scalars()) == {0}
        connection.execute(update(Document).values(queued_at=in_seconds(-60)))
    start(settings, app=EXTRACTOR)
    eventually(lambda: set(states(ledger).values()) == {"ready"}, 60)
