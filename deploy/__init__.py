"""Deployment manifests for the images and models of a package: Kubernetes objects and a Compose file."""
