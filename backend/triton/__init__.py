"""Serving in Triton: the model class of the Python backend, the planner process, configuration and parameters."""
