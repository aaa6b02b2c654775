"""Several worker processes that serve one port together, and their supervisor."""
