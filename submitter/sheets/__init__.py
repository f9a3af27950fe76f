"""Reading spreadsheets: files are hostile until checked, and rows are a stream."""
