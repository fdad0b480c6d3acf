"""Published tables made again: rows are trained alike, measured on the same sets, and set beside the printed figures.

A row's run with one seed lives in `OUT/<row>/seed<k>`; what is done there is not done again.
"""
