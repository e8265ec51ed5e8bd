"""Metrics as mergeable states: accumulate in one pass, add, then compute."""
