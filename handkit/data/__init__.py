"""Data sets as readers of one sample schema."""
