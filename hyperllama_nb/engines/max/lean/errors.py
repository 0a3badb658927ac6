"""The one error of the engine that a client causes."""


class RefusedError(Exception):
    """A request that is not served; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
