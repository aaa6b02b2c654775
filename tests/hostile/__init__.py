"""Guests that attack their host, one table of them, on the runtime, on a real Triton and on the service."""
