"""A document that harms its process harms nothing else, and no process outlives its limits."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import BinaryIO

import psutil
import pypdfium2
import pytest
from PIL import Image

from rowfleet.documents.encoding import encode
from rowfleet.documents.extracted import Box, Extracted, Kind
from rowfleet.documents.limits import MAX_FILE_BYTES, Limits
from rowfleet.documents.opener import Opener, OpenerLostError
from rowfleet.documents.opening import kinds, ocr, server
from rowfleet.documents.opening.child import run
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.errors import InputError
from tests.support.documents.pdfs import pdf, scanned, show
from tests.support.documents.scans import saved, scan

INVOICE = pdf(show([(50, 700, "INVOICE 4711")]), show([(50, 700, "Page two")]))


@contextmanager
def stored(content: bytes) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file


def reason_of(opener: Opener, content: bytes) -> Unread:
    with stored(content) as file, pytest.raises(UnreadableError) as refused:
        opener.extract(file, "a.pdf")
    return refused.value.reason


def server_of(opener: Opener) -> psutil.Process:
    assert opener._server is not None
    return psutil.Process(opener._server.pid)


def test_the_same_document_gives_the_same_bytes(opener: Opener) -> None:
    with stored(INVOICE) as file:
        assert opener.extract(file, "a.pdf") == opener.extract(file, "b.pdf")


def test_a_file_too_large_is_not_read(opener: Opener) -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(MAX_FILE_BYTES + 1)
        with pytest.raises(UnreadableError, match="over 64 MiB"):
            opener.extract(file, "a.pdf")


def test_a_page_that_takes_too_long_is_stopped() -> None:
    slow = scanned(*[scan(["dense " * 9] * 30)] * 8)
    with Opener(limits=Limits(cpu_seconds=1)) as opener:
        assert reason_of(opener, slow) is Unread.TOO_MUCH_TIME
        with stored(INVOICE) as file:  # the next document has its own time
            assert opener.read(file, "a.pdf").pages[0].text == "INVOICE 4711"


def test_a_process_is_killed_at_its_time() -> None:
    slow = scanned(*[scan(["dense " * 9] * 30)] * 8)
    with Opener(limits=Limits(wall_seconds=0.5)) as opener:
        assert reason_of(opener, slow) is Unread.TOO_MUCH_TIME
        assert server_of(opener).children() == []


def test_memory_is_bounded() -> None:
    large = saved(Image.new("RGB", (6_000, 6_000)), "PNG")
    with Opener(limits=Limits(memory_bytes=50 << 20)) as opener:
        assert reason_of(opener, large) is Unread.TOO_MUCH_MEMORY


def test_a_lost_server_is_started_again() -> None:
    with Opener() as opener, stored(INVOICE) as file:
        opener.extract(file, "a.pdf")
        server_of(opener).kill()
        with pytest.raises(OpenerLostError):
            opener.extract(file, "a.pdf")
        assert opener.read(file, "a.pdf").page_count == 2


def owned(target: Callable[..., None], *arguments: object) -> tuple[SpawnProcess, Connection]:
    """Start a process that owns an opener; it sends what it has to say.

    It is a new one, as a worker is: a fork of this process would have the locks of its threads.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    owner = context.Process(target=target, args=(theirs, *arguments))
    owner.start()
    theirs.close()  # so that the end of the owner is the end of the pipe
    return owner, ours


def kill(owner: SpawnProcess) -> None:
    owner.kill()
    owner.join()


def opens(pipe: Connection, content: bytes | None = None) -> None:
    opener = Opener()
    with stored(INVOICE) as file:
        opener.extract(file, "a.pdf")
    pipe.send(server_of(opener).pid)
    if content is not None:
        with stored(content) as file:
            opener.extract(file, "a.pdf")
    time.sleep(600)


def forks(pipe: Connection) -> None:
    with Opener() as opener, stored(INVOICE) as file:
        opener.extract(file, "a.pdf")
        pid = os.fork()
        if not pid:
            opener.extract(file, "a.pdf")
            pipe.send(server_of(opener).pid)
            opener.close()
            os._exit(0)
        os.waitpid(pid, 0)
        opener.extract(file, "a.pdf")
        pipe.send(server_of(opener).pid)


def test_the_server_ends_with_its_owner() -> None:
    owner, pipe = owned(opens)
    process = psutil.Process(pipe.recv())
    kill(owner)
    process.wait(60)


def test_a_document_ends_with_the_owner() -> None:
    owner, pipe = owned(opens, scanned(*[scan(["dense " * 9] * 30)] * 90))
    process = psutil.Process(pipe.recv())
    while not (children := process.children()):
        time.sleep(0.01)
    kill(owner)
    _, left = psutil.wait_procs([process, *children], 20)
    assert left == []


def test_a_fork_of_the_owner_has_a_server_of_its_own() -> None:
    owner, pipe = owned(forks)
    of_the_fork, of_the_owner = pipe.recv(), pipe.recv()
    owner.join(60)
    assert owner.exitcode == 0
    assert of_the_fork != of_the_owner


def test_the_process_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LEDGER_URL", "postgresql://u:secret@h/d")
    with Opener() as opener, stored(INVOICE) as file:
        opener.extract(file, "a.pdf")
        process = server_of(opener)
        assert "secret" not in str(process.environ()) + str(process.cmdline())


class _Hostile:
    """A document that has taken its process over, in place of a kind's reader."""

    def __init__(self, content: bytes, name: str, reading: object) -> None:
        doings = {
            b"open": lambda: Path("/etc/passwd").read_text(),
            b"write": lambda: os.write(os.open("/dev/null", os.O_WRONLY), b"a"),
            b"connect": lambda: __import__("socket").create_connection(("127.0.0.1", 9)),
            b"start": lambda: __import__("subprocess").run(["true"], check=True),
        }
        doings[content]()


def does(pipe: Connection, doing: bytes) -> None:
    kinds.read = _Hostile
    request = {"do": "extract", "name": "a", "limits": {"memory_bytes": 1 << 30, "cpu_seconds": 5}}
    reading, writing = os.pipe()
    with stored(doing) as file:
        if not os.fork():
            try:
                run(file.fileno(), writing, request, None, 1 << 30)
            finally:
                os._exit(0)
    os.close(writing)
    with open(reading, "rb") as said:
        pipe.send(said.read())


@pytest.mark.parametrize("doing", [b"open", b"write", b"connect", b"start"])
def test_no_file_is_opened_and_nothing_is_reached(doing: bytes) -> None:
    owner, pipe = owned(does, doing)
    assert pipe.recv() == b'U["corrupt", ""]'
    owner.join(60)


@pytest.mark.parametrize(
    "reply",
    [b"R", b"T", b"T\x01garbage", b"P", b"U", b'U["no such reason", ""]', b"U[]", b"x" * 100],
)
def test_what_a_process_says_is_checked(reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its document may have taken it over."""
    with Opener() as opener, stored(INVOICE) as file:
        opener.extract(file, "a.pdf")
        monkeypatch.setattr("rowfleet.documents.opener._receive", lambda _: (reply[:1], reply[1:]))
        with pytest.raises(UnreadableError) as refused:
            opener.extract(file, "a.pdf")
        assert refused.value.reason is Unread.CORRUPT


def test_a_text_of_any_content_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = encode(Extracted(Kind.TEXT, (), 0))
    with Opener() as opener, stored(INVOICE) as file:
        opener.extract(file, "a.pdf")
        monkeypatch.setattr("rowfleet.documents.opener._receive", lambda _: (b"T", text))
        assert opener.extract(file, "a.pdf") == text


@pytest.mark.parametrize(
    ("signal_number", "reason"),
    [
        (signal.SIGXCPU, Unread.TOO_MUCH_TIME),
        (signal.SIGKILL, Unread.TOO_MUCH_MEMORY),
        (signal.SIGABRT, Unread.TOO_MUCH_MEMORY),
        (signal.SIGSEGV, Unread.CORRUPT),
        (0, Unread.CORRUPT),
    ],
)
def test_an_end_without_a_reply_has_its_reason(signal_number: int, reason: Unread) -> None:
    assert server._reason(signal_number) is reason


@pytest.mark.parametrize("languages", ["klingon", "eng+klingon", "", "eng+", "../eng"])
def test_a_language_without_data_is_named(languages: str) -> None:
    with (
        stored(INVOICE) as file,
        Opener(languages) as opener,
        pytest.raises(InputError, match=r"no data for '.*'"),
    ):
        opener.extract(file, "a.pdf")


def test_languages_may_come_from_a_folder(tmp_path: Path) -> None:
    data = (ocr.installed_data() / "eng.traineddata").read_bytes()
    (tmp_path / "house.traineddata").write_bytes(data)
    with stored(scanned(scan(["INVOICE"]))) as file, Opener("house", tessdata=tmp_path) as opener:
        assert opener.read(file, "a.pdf").pages[0].text == "INVOICE"


def test_german_is_read_with_its_data() -> None:
    text = show([(50, 700, "Überweisung für Größe")], 14)
    image = pypdfium2.PdfDocument(pdf(text))[0].render(scale=200 / 72).to_pil()
    page = scanned(image)
    with stored(page) as file, Opener("deu+eng") as opener:
        assert opener.read(file, "a.pdf").pages[0].text == "Überweisung für Größe"


def test_pages_are_rendered_within_their_bounds(opener: Opener) -> None:
    with stored(INVOICE) as file:
        pictures = opener.render(file, "a.pdf", [2, 1, 9], max_side=700)
    assert [picture.number for picture in pictures] == [1, 2]
    for picture in pictures:
        with Image.open(io.BytesIO(picture.content)) as image:
            assert (image.format, max(image.size)) == ("JPEG", 700)


def test_a_quote_is_marked_on_its_page(opener: Opener) -> None:
    with stored(INVOICE) as file:
        page = opener.read(file, "a.pdf").pages[0]
        boxes = [word.box for word in page.words() if word.box]
        [plain] = opener.render(file, "a.pdf", [1], png=True)
        [marked] = opener.render(file, "a.pdf", [1], png=True, marks={1: boxes})
    with Image.open(io.BytesIO(plain.content)) as a, Image.open(io.BytesIO(marked.content)) as b:
        left, top, _, _ = boxes[0]
        at = (round(left * a.width / 10_000) - 1, round(top * a.height / 10_000) - 1)
        grey, yellow = a.convert("RGB").getpixel(at), b.convert("RGB").getpixel(at)
        assert isinstance(grey, tuple)
        assert isinstance(yellow, tuple)
        assert grey[0] == grey[2] > yellow[2] + 50
        assert b.format == "PNG"


def test_a_scan_is_rendered(opener: Opener) -> None:
    content = io.BytesIO()
    scan(["INVOICE"]).save(content, "PNG")
    with stored(content.getvalue()) as file:
        [picture] = opener.render(file, "a.png", [1], max_side=500, marks={1: [Box(0, 0, 9, 9)]})
    with Image.open(io.BytesIO(picture.content)) as image:
        assert max(image.size) == 500
