"""The exception tree of the package.

    HyperLlamaError                 500
    ├── RequestError                400   the caller asked for something malformed
    │   ├── InvalidNameError        400
    │   ├── InvalidOptionError      400
    │   ├── PromptTooLongError      400
    │   └── InvalidFileError        400   a model file that is damaged or hostile
    │       └── ForeignFileError    400   a sound one that cannot be imported
    ├── AuthenticationError         401   no credential, or one that is not known
    ├── ForbiddenError              403   a known caller who may not do this
    ├── SlowRequestError            408   the body did not arrive in time
    ├── TooLargeError               413   more than a request may carry
    ├── RateLimitedError            429   this caller asks too often
    ├── ModelNotFoundError          404
    ├── NotSupportedError           501   a known request that nobody answers (yet)
    ├── InvalidAnswerError          502   the answer is not of the form that was asked for
    ├── BusyError                   503   the queue is full
    ├── CannotRunError              422   this model on this device, never
    │   └── NotEnoughMemoryError    507   this model on this device, not now
    ├── StoreError                  500
    │   ├── PullError               502   the source did not give the model
    │   │   └── IntegrityError      502   the bytes are not the promised ones
    │   ├── PullCancelledError      499
    │   └── NoSpaceError            507
    ├── EngineError                 500
    │   ├── EngineMissingError      503   no executable for the backend
    │   ├── EngineStartError        500
    │   │   └── LoadTimeoutError    503   it was not ready in time
    │   └── EngineDiedError         500   it ended while a request was running
    ├── DeadlineError               504   the request took longer than requests may
    ├── ServiceError                503   the service cannot be reached or started
    │   └── ProtocolMismatchError   409
    └── ConflictError               409   somebody else holds what was asked for

Each message says what happened, why, and the next step. `status` is the HTTP status that carries
the error, `code` its name on the wire, so that a client raises the class that the service raised.
"""

from typing import ClassVar


class HyperLlamaError(Exception):
    """Base of all errors that this package raises on purpose."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "error"
    retry_after: float | None = None
    """Seconds after which the same request may succeed; None where waiting does not help."""

    def __init_subclass__(cls) -> None:
        """Register the subclass under its wire name."""
        super().__init_subclass__()
        _BY_CODE[cls.code] = cls

    @property
    def error(self) -> str:
        """Return the message, under the name that ollama-python gives it."""
        return str(self)

    @property
    def status_code(self) -> int:
        """Return the HTTP status, under the name that ollama-python gives it."""
        return self.status


_BY_CODE: dict[str, type[HyperLlamaError]] = {}


def from_wire(code: str | None, message: str, status: int = 500) -> HyperLlamaError:
    """Return the error that the wire describes; an unknown code becomes the base class."""
    kind = _BY_CODE.get(code or "")
    if kind is None:
        kind = ModelNotFoundError if status == ModelNotFoundError.status else HyperLlamaError
    return kind(message)


class RequestError(HyperLlamaError):
    """The request is malformed."""

    status = 400
    code = "bad_request"


class InvalidNameError(RequestError):
    """A model name that does not follow the grammar."""

    code = "invalid_name"


class InvalidOptionError(RequestError):
    """An option of the wrong type or outside its range."""

    code = "invalid_option"


class PromptTooLongError(RequestError):
    """The prompt does not fit the context, and cutting it was not allowed."""

    code = "prompt_too_long"


class InvalidFileError(RequestError):
    """A model file that is truncated, damaged, hostile, or of an unknown kind."""

    code = "invalid_file"


class ForeignFileError(InvalidFileError):
    """A model file that seems sound, of a kind that cannot be imported."""

    code = "foreign_file"


class AuthenticationError(HyperLlamaError):
    """The request has no credential, or one that nobody knows."""

    status = 401
    code = "unauthenticated"


class ForbiddenError(HyperLlamaError):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"


class SlowRequestError(HyperLlamaError):
    """The request's body did not arrive in time."""

    status = 408
    code = "slow_request"


class TooLargeError(HyperLlamaError):
    """The request carries more than is accepted."""

    status = 413
    code = "too_large"


class RateLimitedError(HyperLlamaError):
    """The caller asks too often; `retry_after` is in seconds."""

    status = 429
    code = "rate_limited"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelNotFoundError(HyperLlamaError):
    """No model of that name is in the store."""

    status = 404
    code = "model_not_found"


class NotSupportedError(HyperLlamaError):
    """A request that is understood and not answered."""

    status = 501
    code = "not_supported"


class InvalidAnswerError(HyperLlamaError):
    """The answer is not of the form that was asked for."""

    status = 502
    code = "invalid_answer"


class BusyError(HyperLlamaError):
    """The queue of the model is full."""

    status = 503
    code = "busy"
    retry_after = 1.0


class CannotRunError(HyperLlamaError):
    """The backend cannot run this model on this device."""

    status = 422
    code = "cannot_run"


class NotEnoughMemoryError(CannotRunError):
    """The model does not fit into the memory that is free."""

    status = 507
    code = "not_enough_memory"


class StoreError(HyperLlamaError):
    """The store could not do what was asked."""

    code = "store"


class PullError(StoreError):
    """A source did not deliver the model."""

    status = 502
    code = "pull"


class IntegrityError(PullError):
    """What arrived is not what was promised."""

    code = "integrity"


class PullCancelledError(StoreError):
    """The caller cancelled the pull; what was fetched is kept for the next try."""

    status = 499
    code = "pull_cancelled"


class NoSpaceError(StoreError):
    """The disk has no room for the model."""

    status = 507
    code = "no_space"


class EngineError(HyperLlamaError):
    """An engine failed."""

    code = "engine"


class EngineMissingError(EngineError):
    """The backend's program is not installed."""

    status = 503
    code = "engine_missing"


class EngineStartError(EngineError):
    """An engine did not become ready."""

    code = "engine_start"


class LoadTimeoutError(EngineStartError):
    """An engine was not ready within the time that a load may take."""

    status = 503
    code = "load_timeout"
    retry_after = 30.0


class EngineDiedError(EngineError):
    """An engine ended while it was needed."""

    code = "engine_died"


class DeadlineError(HyperLlamaError):
    """A request took longer than the service lets one take."""

    status = 504
    code = "deadline"


class ServiceError(HyperLlamaError):
    """The engine service cannot be reached or started."""

    status = 503
    code = "service"


class ProtocolMismatchError(ServiceError):
    """Client and service speak different protocol numbers."""

    status = 409
    code = "protocol_mismatch"


class ConflictError(HyperLlamaError):
    """Somebody else holds what was asked for: a port, a lock, a busy model."""

    status = 409
    code = "conflict"
