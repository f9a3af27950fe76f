"""Spreadsheets that are not .xlsx: text files, and .xls, .xlsb and .ods.

`delimited` reads text. The others become an .xlsx first: `kinds` tells what a file is, `converted`
runs a child process, and `conversion` is what that runs.
"""
