"""Writing the finished sheet."""
