"""A client for OCI registries: pushes artifacts, resumes interrupted uploads, and validates every response.

Imports nothing: `transport` needs urllib3, which is an extra, while `address` and `credentials` are used without it.
"""
