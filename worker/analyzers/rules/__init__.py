"""The analyzer `rules`: it computes, and asks no model."""
