"""Files on this disk, in object stores and behind URLs."""
