"""Documents that tests make: honest ones, and hostile ones."""
