"""The commands of `rowfleet`: one file for each, or for a few that are alike."""
