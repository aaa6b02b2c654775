"""A client for OCI registries: pushes artifacts, resumes what broke off, and believes no answer it has not checked."""
