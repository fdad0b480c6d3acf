"""Scores: protocols, reading predictions and truth, matching, comparison."""
