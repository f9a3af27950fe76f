"""A fleet that KEDA scales, simulated event by event with times measured on a cluster."""
