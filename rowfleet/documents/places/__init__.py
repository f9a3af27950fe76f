"""Where documents are: the root, references to files below it, and how a file is fetched.

Rows name files. Whatever a cell says, no file above the root is opened, nothing is asked of an
address, and nothing larger than a document may be is kept.
"""
