"""Rows in the plain form that nearly every program writes, read without an XML parser."""
