"""Mutation testing of the modules that decide about money and ends; `make mutants` runs it."""
