"""Deployment manifests for what a run made: Kubernetes objects and a Compose file."""
