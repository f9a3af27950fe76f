"""Kubernetes: Jobs that submit, and the pods of workers."""
