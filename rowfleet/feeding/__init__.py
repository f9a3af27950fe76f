"""Feeding: pending rows go to the queue up to its window, and rows that got lost come back."""
