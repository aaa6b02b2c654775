"""Interfaces of entries: tensors, data types and signatures, and their discovery in a module."""
