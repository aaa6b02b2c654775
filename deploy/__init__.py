"""Deployment manifests for the images and models of a package: Kubernetes objects and a Compose file.

Nothing is imported here: the pipeline loads the module of a target only when it runs it.
"""
