"""A trained head as a folder to hand on: written, read, described, put on the hub."""
