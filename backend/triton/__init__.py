"""The model class of Triton's Python backend, its configuration and settings."""
