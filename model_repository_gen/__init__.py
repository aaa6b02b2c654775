"""Writes Triton model repositories, and checks them without a server."""
