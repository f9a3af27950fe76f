"""What a batch costs: before it runs, by a sample, and after."""
