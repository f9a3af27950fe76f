"""Workbooks in .xls, .xlsb and .ods are read as an .xlsx is, and none can do harm."""

from __future__ import annotations

import hashlib
import random
import re
import struct
import zipfile
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from rowfleet.cells import CellError, value
from submitter.sheets.opening import open_sheet
from submitter.sheets.other_formats.conversion import MAX_MEMORY_BYTES
from tests.support import bombs, other_formats
from tests.support.other_formats import Cell, Rows
from tests.support.workbooks import read, refusal

KINDS = [".xls", ".xlsb", ".ods"]
ROWS: Rows = [["Vendor", "Amount"], ["Acme", 12.5]]


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"invoices{request.param}"


def book(path: Path, rows: Rows = ROWS) -> Path:
    return other_formats.write(path, {"Refunds": rows})


CELLS: list[Cell] = [
    *("Acme", "0017", " ", "two\nlines", "a & <b>", "_x0041_", "\N{GRINNING FACE} é 語", "=1+1"),
    *("#N/A", "x" * 4_000, 0.0, 12.0, -7.25, 1e300, 123456789012.0, 0.1 + 0.2, True, False),
    *(date(2024, 2, 29), date(1900, 3, 1), date(9999, 12, 31)),
    *(CellError(code) for code in other_formats.ERRORS),
]


def test_cells_are_what_they_were(path: Path) -> None:
    rows = [["Before", "Value", "Behind"], *([f"{n}", cell, 1.0] for n, cell in enumerate(CELLS))]
    found = [value(cells[1]) for _, cells in read(book(path, rows))]
    expected = [
        datetime(cell.year, cell.month, cell.day) if isinstance(cell, date) else cell
        for cell in CELLS
    ]
    assert found == expected
    assert [type(found[CELLS.index(cell)]) for cell in (0.0, 12.0, True)] == [int, int, bool]


def test_rows_and_columns_keep_their_places(path: Path) -> None:
    header: list[Cell] = [None, "H", None, "I"]
    rows: Rows = [[], [], [], header, [None, "x"], [], [None, None, None, 5.0]]
    with open_sheet(book(path, rows)) as sheet:
        assert (sheet.header, sheet.sheet_columns, sheet.first_row) == (("H", "I"), (1, 3), 5)
        assert list(sheet.rows()) == [(0, ["x", None]), (2, [None, 5])]


@pytest.mark.parametrize("place", [(1, 0), (1, 3), (4, 0), (4, 3)])
def test_an_error_is_no_empty_cell_wherever_it_stands(path: Path, place: tuple[int, int]) -> None:
    error = CellError("#REF!")
    rows: list[list[Cell]] = [["H", "I", "J", "K"], [], ["x"], [], []]
    row, column = place
    rows[row] = [None] * column + [error]
    found = dict(read(book(path, rows)))
    assert found.pop(1) == ["x", None, None, None]
    assert found == {row - 1: [error if each == column else None for each in range(4)]}


def test_dates_and_numbers_are_shown_as_such(path: Path) -> None:
    with open_sheet(book(path, [["Day", "Amount"], [date(2024, 5, 1), 1.5]])) as sheet:
        assert sheet.formats == ("yyyy-mm-dd", "General")


def test_the_hash_is_that_of_the_file_and_no_row_is_known_to_be_hidden(path: Path) -> None:
    content = book(path).read_bytes()
    with open_sheet(path) as sheet:
        assert sheet.sha256 == hashlib.sha256(content).hexdigest()
        assert sheet.hidden is None  # calamine does not say which rows are


def test_a_workbook_is_known_whatever_its_suffix(path: Path) -> None:
    renamed = book(path).rename(path.with_suffix(".csv"))
    assert read(renamed) == [(0, ["Acme", 12.5])]


# Sheets


def test_the_first_visible_sheet_is_read_or_the_named_one(path: Path) -> None:
    others: Rows = [["H"], ["other"]]
    sheets = {"Hidden": [["H"], ["hidden"]], "Refunds <&>": ROWS, "Other": others}
    other_formats.write(path, sheets, hidden=["Hidden"])
    with open_sheet(path) as sheet:
        assert sheet.title == "Refunds <&>"
        assert list(sheet.rows()) == [(0, ["Acme", 12.5])]
    assert read(path, sheet="other") == [(0, ["other"])]
    assert read(path, sheet="HIDDEN") == [(0, ["hidden"])]
    assert refusal(path, "Nope") == (
        f"{path.name}: no sheet 'Nope'; there are 'Hidden', 'Refunds <&>', 'Other'"
    )


def test_a_sheet_without_rows_is_refused(path: Path) -> None:
    other_formats.write(path, {"Refunds": []})
    assert refusal(path) == f"{path.name}, sheet 'Refunds': is empty"


def test_an_ods_that_repeats_rows_and_cells_is_read(tmp_path: Path) -> None:
    cells = f"{other_formats.ods_cell('H')}{other_formats.ods_cell('I')}"
    repeated = 'table:number-columns-repeated="2"'
    error = other_formats.ods_cell(CellError("#N/A")).replace("cell ", f"cell {repeated} ", 1)
    rows = (
        f"<table:table-row>{cells}</table:table-row>"
        f'<table:table-row table:number-rows-repeated="2"><table:table-cell/></table:table-row>'
        f'<table:table-row table:number-rows-repeated="2">{error}</table:table-row>'
        f'<table:table-row table:number-rows-repeated="1000000"><table:table-cell {repeated}/>'
        f"</table:table-row>"
    )
    table = f'<table:table table:name="T">{rows}</table:table>'
    path = tmp_path / "r.ods"
    path.write_bytes(other_formats.ods_file(table))
    error_cells = [CellError("#N/A")] * 2
    assert read(path) == [(2, error_cells), (3, error_cells)]


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("PT30H05M00S", timedelta(hours=30, minutes=5)),
        ("-PT132H00M00.5S", -timedelta(hours=132, seconds=0.5)),
    ],
)
def test_a_duration_of_an_ods_is_one(tmp_path: Path, text: str, duration: timedelta) -> None:
    cell = f'<table:table-cell office:value-type="time" office:time-value="{text}"/>'
    rows = f"<table:table-row>{other_formats.ods_cell('H')}</table:table-row>"
    rows += f"<table:table-row>{cell}</table:table-row>"
    path = tmp_path / "d.ods"
    path.write_bytes(other_formats.ods_file(f'<table:table table:name="T">{rows}</table:table>'))
    ((_, (found,)),) = read(path)
    assert found == duration


@pytest.mark.parametrize("code_page", [437, 932, 1200, 1251, 1252, 10029])
def test_text_of_an_xls_is_utf_16_whatever_its_code_page(tmp_path: Path, code_page: int) -> None:
    records = other_formats.xls_records({"S": [["Имя"], ["Анна"], ["Größe €"], ["値"]]})
    start = len(other_formats.record(0x0809, bytes(16)))
    named = other_formats.record(0x0042, struct.pack("<H", code_page))
    at = records.index(struct.pack("<H", 0x0085)) + 4  # where the place of the sheet is
    (place,) = struct.unpack_from("<L", records, at)
    records = records[:at] + struct.pack("<L", place + len(named)) + records[at + 4 :]
    path = tmp_path / "a.xls"
    path.write_bytes(other_formats.compound(records[:start] + named + records[start:]))
    with open_sheet(path) as sheet:
        assert sheet.header == ("Имя",)
        assert [cells for _, cells in sheet.rows()] == [["Анна"], ["Größe €"], ["値"]]


# What can't be read


def test_a_file_that_is_cut_off_is_refused(path: Path) -> None:
    book(path, [*ROWS] * 300)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert f"{path.name}: truncated or damaged" in refusal(path)


@pytest.mark.parametrize("name", ["WordDocument", "Book", "Workbook"])
def test_a_compound_file_without_a_workbook_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "letter.xls"
    path.write_bytes(other_formats.compound(b"text", name))
    assert refusal(path) == (
        "letter.xls: truncated or damaged, not an .xls that can be read; "
        "open it in Excel or LibreOffice and save it as .xlsx"
    )


def test_an_encrypted_workbook_is_refused(tmp_path: Path) -> None:
    xls, xlsx, ods = (tmp_path / name for name in ("old.xls", "new.xlsx", "open.ods"))
    records = other_formats.xls_records({"S": ROWS})
    start = other_formats.record(0x0809, bytes(16))
    password = other_formats.record(0x002F, b"\1\0")
    xls.write_bytes(
        other_formats.compound(records[: len(start)] + password + records[len(start) :])
    )
    xlsx.write_bytes(other_formats.compound(b"x", "EncryptedPackage"))
    other_formats.write(ods, {"S": ROWS})
    with zipfile.ZipFile(ods) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    entry = b"<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>"
    manifest = parts["META-INF/manifest.xml"].replace(
        b"/>", b">" + entry + b"</manifest:manifest>", 1
    )
    with zipfile.ZipFile(ods, "w") as package:
        for name, content in {**parts, "META-INF/manifest.xml": manifest}.items():
            package.writestr(name, content)
    for path in (xls, xlsx, ods):
        assert (
            refusal(path) == f"{path.name}: the workbook is encrypted; save it without a password"
        )


def test_what_is_far_too_large_is_refused_unread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(path)
    monkeypatch.setattr("submitter.sheets.other_formats.kinds.MAX_BYTES", 100)
    monkeypatch.setattr("submitter.sheets.opening.converted", None)
    kind = path.suffix
    assert refusal(path) == (
        f"invoices{kind}: an {kind} of 0 MiB, more than 0 MiB, is not read; save it as .xlsx"
    )


@pytest.mark.parametrize("kind", [".xls", ".xlsb"])
def test_a_text_with_nul_is_refused(tmp_path: Path, kind: str) -> None:
    path = book(tmp_path / f"a{kind}", [["H"], ["t\0e\0x\0t\0"]])
    assert f"not an {kind} that can be read" in refusal(path)


def test_a_panic_is_one_sentence(tmp_path: Path) -> None:
    records = bytearray(other_formats.xls_records({"S": ROWS}))
    at = records.index(struct.pack("<H", 0x0085)) + 4
    struct.pack_into("<L", records, at, 0xFFFFFFF0)  # where its sheet begins
    path = tmp_path / "panic.xls"
    path.write_bytes(other_formats.compound(bytes(records)))
    assert "not an .xls that can be read" in refusal(path)


@pytest.mark.parametrize("seed", range(4))
def test_a_file_with_a_few_wrong_bytes_is_read_or_refused(path: Path, seed: int) -> None:
    rows: Rows = [["H", "I", "J"], *([f"v{n}", n / 3, CellError("#N/A")] for n in range(40))]
    book(path, rows)
    draw = random.Random(seed)
    if path.suffix == ".xls":
        content = bytearray(path.read_bytes())
        for _ in range(5):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path) as package:
            parts = {name: bytearray(package.read(name)) for name in package.namelist()}
        for content in parts.values():
            for _ in range(2):
                content[draw.randrange(len(content))] = draw.randrange(256)
        with zipfile.ZipFile(path, "w") as package:
            for name, content in parts.items():
                package.writestr(name, bytes(content))
    try:
        read(path)
    except Exception:
        assert refusal(path).startswith(path.name)


# Bombs


def far_apart(tmp_path: Path) -> Path:
    """Two cells, in the first corner of a worksheet and in the last."""
    path = tmp_path / "far.xlsb"
    book(path)
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    cells: list[tuple[int, int, Cell]] = [(0, 0, "H"), (1_048_575, 16_383, 1.0)]
    parts["xl/worksheets/sheet1.bin"] = other_formats.xlsb_sheet(cells)
    with zipfile.ZipFile(path, "w") as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return path


def repeated(tmp_path: Path) -> Path:
    cell = other_formats.ods_cell("x" * 1_000).replace(
        "cell ", 'cell table:number-columns-repeated="1000" ', 1
    )
    row = f'<table:table-row table:number-rows-repeated="1000000">{cell}</table:table-row>'
    path = tmp_path / "repeated.ods"
    path.write_bytes(other_formats.ods_file(f'<table:table table:name="T">{row}</table:table>'))
    return path


def reserved(tmp_path: Path) -> Path:
    """An .xls that says it has four billion rows."""
    records = other_formats.xls_records({"S": ROWS})
    sheet = records.rindex(struct.pack("<HH", 0x0809, 16)) + 20
    size = other_formats.record(0x0200, struct.pack("<LLHHH", 0, 0xFFFFFFFF, 0, 0xFFFF, 0))
    path = tmp_path / "reserved.xls"
    path.write_bytes(other_formats.compound(records[:sheet] + size + records[sheet:]))
    return path


def inflated(tmp_path: Path) -> Path:
    path = tmp_path / "inflated.ods"
    text = "".join(
        f"<table:table-row>{other_formats.ods_cell('x' * 30_000)}</table:table-row>" * 3_000
    )
    table = f'<table:table table:name="T">{text * 6}</table:table>'
    path.write_bytes(other_formats.ods_file(table))
    return path


def test_a_small_file_that_asks_for_much_memory_gets_little(tmp_path: Path) -> None:
    memory = r"takes more than 384 MiB of memory is not read; save it as \.xlsx"
    sentences = {far_apart: memory, repeated: "not an .ods", reserved: memory, inflated: memory}
    paths = [make(tmp_path) for make in sentences]
    assert all(path.stat().st_size < 4_000_000 for path in paths)
    measured = zip(paths, sentences.values(), bombs.measured(paths), strict=True)
    for path, sentence, (grown, said, converter) in measured:
        assert grown < 64 << 20, path.name
        assert converter < MAX_MEMORY_BYTES + (64 << 20), path.name
        assert said is not None
        assert re.search(sentence, said), (path.name, said)
        assert "\n" not in said


def test_a_cell_beyond_a_worksheet_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "beyond.xlsb"
    book(path)
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    parts["xl/worksheets/sheet1.bin"] = other_formats.xlsb_sheet(
        [(0, 0, "H"), (4_000_000_000, 0, CellError("#N/A"))]
    )
    with zipfile.ZipFile(path, "w") as package:
        for name, content in parts.items():
            package.writestr(name, content)
    assert "not an .xlsb that can be read" in refusal(path)


# The process that converts


def test_modules_in_the_users_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = book(tmp_path / "a.xls")
    for name in ("submitter", "python_calamine", "zipfile"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert read(path) == [(0, ["Acme", 12.5])]


def test_no_room_for_the_converted_file_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = book(tmp_path / "a.xls")
    full = open("/dev/full", "wb")  # noqa: SIM115 (the code under test closes it)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: full)
    assert refusal(path) == (
        "a.xls: an .xls is converted in a temporary file, and there is no room for it"
    )
