"""The door of the Jupyter server: its identities become callers, its bytes the service's."""
