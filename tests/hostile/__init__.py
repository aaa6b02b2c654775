"""Hostile guests: one table of attacks, run against the runtime, a real Triton and the service."""
