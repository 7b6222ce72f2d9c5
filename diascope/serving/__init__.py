"""The service: a page and a REST interface that answer as the bundle does."""
