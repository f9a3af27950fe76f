"""The review round trip: rows that need review go out in a workbook, decisions come back in it."""
