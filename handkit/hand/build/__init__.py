"""Building the open hand: measurements, implicit surface, mesh, skin, shape, correctives, colours.

Run `python -m handkit.hand.build` to make `open_hand.npz` again; the result is deterministic.
"""
