"""Writing answers into the user's own workbook.

The finished file is the original package: every part is copied as it is, and only the worksheet
that was read, its tables and the stylesheet get something added. `finished.write_back` does it all;
the other modules each know one kind of part. No XML is parsed and written anew. expat says where a
tag stands, and bytes are put in at that place, so whatever this code does not know stays as it was.
"""
