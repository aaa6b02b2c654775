"""Execution of guests: stores, instances, memory, deadlines and host functions."""
