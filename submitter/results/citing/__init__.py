"""Where the answers come from: cells of the finished sheet, and pictures of the pages."""
