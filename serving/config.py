"""What the service is asked to do: the arguments of `serve run serving.app:build_app`, as data.

`UserConfig` holds what can change while replicas run (Serve's `user_config`); `ServingConfig` adds
what needs new ones. Arguments arrive as text, `key=value`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from model_repo.inception_v3.repository.locate import ModelSource
from model_repo.inception_v3.repository.weights import is_untrained
from model_repo.inception_v3.spec import Precision
from serving.auth import read_tokens

MEBIBYTE = 1024 * 1024


class ConfigError(Exception):
    """The service cannot be run as it was asked for; the message is for whoever started it."""


class UserConfig(BaseModel):
    """What changes without a restart; `None` means what the model's config.pbtxt says.

    Attributes:
        max_batch_size: images of one forward pass.
        batch_wait_timeout_s: how long a batch that is not full waits on an idle model.
        max_body_bytes: of one request.
        max_pixels: of one image; a small file may have fewer, see `serving.admission`.
        max_queue_s: a request that would have to wait longer is refused at once.
        request_timeout_s: after which any request is given up; clients can ask for less.
        hang_timeout_s: a forward pass that takes longer makes its replica unhealthy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_size: PositiveInt | None = None
    batch_wait_timeout_s: NonNegativeFloat | None = None
    max_body_bytes: PositiveInt = 64 * MEBIBYTE
    max_pixels: PositiveInt = 50_000_000
    max_queue_s: PositiveFloat = 4
    request_timeout_s: PositiveFloat = 30
    hang_timeout_s: PositiveFloat = 60


class ServingConfig(UserConfig):
    """One service.

    Attributes:
        models: references, `name` or `name:version`; each is served under its name, for pixels, and
            under its name with `_image` behind it, for encoded images.
        model_repository: folder or `s3://` prefix; `None` is the built-in one.
        weights, labels: of the one model that is served, in the words of `labelmill label`.
        min_replicas, max_replicas: `None` is one for each core or GPU of the cluster.
        num_cpus, num_gpus: of a replica, at most one GPU; `None` is half of one where there is any.
        tokens_file: SHA-256 of the bearer tokens, one a line; `LABELMILL_TOKENS` holds the same.
        host: that `serve run` listens on; gRPC, which Serve has listen on all interfaces, answers
            this machine only where `host` is a loopback address.
        port, grpc_port: that `serve run` listens on; a `grpc_port` of 0 is no gRPC.
    """

    models: tuple[str, ...] = ("inception_v3",)
    model_repository: str | None = None
    weights: str | None = None
    labels: str | None = None
    runtime: Literal["auto", "torch", "openvino"] = "auto"
    precision: Precision | None = None
    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt | None = None
    target_ongoing_requests: PositiveFloat = 4
    upscale_delay_s: NonNegativeFloat = 3
    downscale_delay_s: NonNegativeFloat = 120
    num_cpus: PositiveFloat | None = None
    num_gpus: Annotated[float, Field(ge=0, le=1)] | None = None
    tokens_file: Path | None = None
    token_hashes: tuple[str, ...] = Field(default=(), repr=False)
    host: str = "127.0.0.1"
    port: NonNegativeInt = 8000
    grpc_port: NonNegativeInt = 9000

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        if not names or not all(isinstance(name, str) and name.strip() for name in names):
            raise ValueError("name at least one model, such as inception_v3 or flowers:2")
        return tuple(dict.fromkeys(name.strip() for name in names))

    @model_validator(mode="after")
    def _check_replicas(self) -> "ServingConfig":
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas {self.max_replicas} is below min_replicas {self.min_replicas}"
            )
        if self.num_gpus and self.runtime == "openvino":
            raise ValueError("num_gpus: the openvino runtime runs on CPUs; use runtime=torch")
        return self

    def source(self, reference: str) -> ModelSource:
        """Return where the model `reference` is to be found."""
        is_configured = reference in self.models
        # A trial has no weights at all; those of one model are not for one that is loaded later.
        is_trial = self.weights is not None and is_untrained(self.weights)
        return ModelSource(
            reference=reference,
            model_repository=self.model_repository,
            weights=self.weights if is_configured or is_trial else None,
            labels=self.labels if is_configured else None,
        ).with_absolute_paths()


def load_config(args: dict[str, Any]) -> ServingConfig:
    """Check the arguments, and read the tokens that they name or the environment holds.

    Raises:
        ConfigError: an argument is not what it must be, or the tokens cannot be read.
    """
    try:
        config = ServingConfig.model_validate(args)
    except ValidationError as exc:
        raise ConfigError("; ".join(map(_describe, exc.errors()))) from exc
    if len(config.models) > 1 and (config.weights or config.labels):
        raise ConfigError("weights and labels go with one model; put those of several beside them")
    try:
        hashes = read_tokens(config.tokens_file)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"cannot read the tokens: {exc}") from exc
    return config.model_copy(update={"token_hashes": hashes or config.token_hashes})


def _describe(problem: Any) -> str:
    text = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return str(text)
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(set(ServingConfig.model_fields) - {"token_hashes"}))
        return f"unknown argument {name!r}; there are {known}"
    return f"{name}: {text[0].lower()}{text[1:]}, got {problem['input']!r}"
