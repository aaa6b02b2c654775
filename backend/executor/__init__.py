"""Runs guests: stores, instances, memory, deadlines, host functions."""
