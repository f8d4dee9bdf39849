"""The arguments of `serve run serving.app:build_app`, as data.

`UserConfig` holds what can change while replicas run (Serve's `user_config`); `ServingConfig` adds
what needs new replicas. Arguments arrive as text, `key=value`.
"""

from pathlib import Path
from typing import Annotated, Any

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

from model_repo.inception_v3.errors import describe_problem
from model_repo.inception_v3.options import RuntimeName
from model_repo.inception_v3.repository.locate import ModelSource
from model_repo.inception_v3.repository.weights import is_untrained
from model_repo.inception_v3.spec import Precision
from serving.auth import read_tokens

MEBIBYTE = 1024 * 1024


class ConfigError(Exception):
    """The service cannot run with these arguments; the message is for the person who starts it."""


class UserConfig(BaseModel):
    """What can change without a restart; `None` means as the model's config.pbtxt says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_size: PositiveInt | None = None  # images of one forward pass
    batch_wait_timeout_s: NonNegativeFloat | None = None  # of an idle model, for a batch to fill up
    max_body_bytes: PositiveInt = 64 * MEBIBYTE
    max_pixels: PositiveInt = 50_000_000  # of one image; small files may have fewer
    max_queue_s: PositiveFloat = 4  # a request that would wait longer is refused at once
    request_timeout_s: PositiveFloat = 30  # clients can ask for less
    hang_timeout_s: PositiveFloat = 60  # a longer forward pass makes its replica unhealthy


class ServingConfig(UserConfig):
    """One service."""

    # `name` or `name:version`; served as `name`, for pixels, and `name_image`, for encoded images
    models: tuple[str, ...] = ("inception_v3",)
    model_repository: str | None = None  # folder or `s3://` prefix; `None` is the built-in one
    weights: str | None = None  # of the only model that is served, as are `labels`
    labels: str | None = None
    runtime: RuntimeName = "auto"
    precision: Precision | None = None  # as config.pbtxt says, or else fp16 on GPUs, fp32 on CPUs
    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt | None = None  # one for each core or GPU of the cluster
    target_ongoing_requests: PositiveFloat = 4
    upscale_delay_s: NonNegativeFloat = 3
    downscale_delay_s: NonNegativeFloat = 120
    # Of each replica; `None` is half a GPU if the cluster has any, else half a core.
    num_cpus: PositiveFloat | None = None
    num_gpus: Annotated[float, Field(ge=0, le=1)] | None = None
    tokens_file: Path | None = None  # SHA-256 of each bearer token, as in `LABELMILL_TOKENS`
    token_hashes: tuple[str, ...] = Field(default=(), repr=False)
    # Of `serve run`. Serve's gRPC listens on all interfaces; where `host` is a loopback address,
    # calls from other machines are refused. 0 as `grpc_port` turns gRPC off.
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

    @field_validator("precision", mode="before")
    @classmethod
    def _refuse_auto(cls, value: Any) -> Any:
        if value == "auto":
            raise ValueError("leave it out, or take what 'labelmill models check' prints")
        return value

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
        """Return where to find the model `reference`."""
        is_configured = reference in self.models
        # Weights belong to the configured model; only a trial's go with models loaded later, too.
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
        ConfigError: an argument is wrong, or the tokens cannot be read.
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
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(set(ServingConfig.model_fields) - {"token_hashes"}))
        return f"unknown argument {name!r}; there are {known}"
    return f"{describe_problem(name, problem)}, got {problem['input']!r}"
