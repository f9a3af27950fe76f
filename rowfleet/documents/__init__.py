"""Documents beside the sheet: the text of their pages, and the reasons one is not read."""
