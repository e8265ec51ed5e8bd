"""The configurations: `base` has every setting, each other one changes a few of them.

    kanoclip --config=NAME[:ROW]

`configs` at the top of the repository leads here.
"""
