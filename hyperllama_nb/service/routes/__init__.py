"""The HTTP routes of the service, a module for each family."""
