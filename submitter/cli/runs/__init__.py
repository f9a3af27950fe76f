"""A batch is run to its end: on this machine, or by a fleet."""
