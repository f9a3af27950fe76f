"""Servers that hold objects, on loopback: S3's protocol, Google's and Azure's, https, and a line
that breaks."""
