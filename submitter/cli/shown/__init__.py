"""Tables of evaluations, comparisons and trials on a terminal."""
