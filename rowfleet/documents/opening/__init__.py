"""The process that opens documents. Nothing outside it imports this folder."""
