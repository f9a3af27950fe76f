"""Made-up histories of a fleet: its state, and the rules by which Hypothesis lets it change."""
