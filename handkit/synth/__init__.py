"""Synthetic hand motion: pose bank, pose flow, appearance, scene, shards."""
