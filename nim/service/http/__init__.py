"""The service over HTTP: connections, middleware, inference and management endpoints."""
