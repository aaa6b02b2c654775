"""Batching: checks the requests of one execution, joins them, splits their outputs, and isolates their errors."""
