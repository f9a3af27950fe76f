"""Draw a page of an example's invoice with the quote marked, as `rowfleet evidence --png` does.

python docs/pictures/evidence.py docs/pictures/evidence.png
"""

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

from rowfleet.documents.opener import Opener
from rowfleet.documents.quotes.sources import Sources

INVOICE = Path(__file__).parents[2] / "examples" / "invoices" / "stonebridge" / "SBL-01212.pdf"
QUOTE = "Contract review, hour, site 14 6 289.23 20 % 1,735.38"
PAGE = 2

with Opener() as opener, INVOICE.open("rb") as file:
    source = Sources([opener.read(file, INVOICE.name)]).look_up(1, PAGE, QUOTE)
    if not source.is_found:
        sys.exit(f"the quote is not on page {PAGE} of {INVOICE}")
    marks = {PAGE: source.boxes}
    (drawn,) = opener.render(file, INVOICE.name, [PAGE], max_side=1_000, png=True, marks=marks)

page = Image.open(BytesIO(drawn.content))
half = page.crop((0, 0, page.width, page.height * 6 // 10))
half.quantize(32).save(sys.argv[1], optimize=True)
