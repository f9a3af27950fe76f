"""Sheets that are added to a workbook behind its own, such as that of a review."""
