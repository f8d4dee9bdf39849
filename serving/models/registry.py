"""The models that one replica has loaded, by the names that clients ask for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from tritonclient.grpc.model_config_pb2 import ModelConfig

from model_repo.inception_v3 import Classifier, Model, ModelError, RuntimeOptions, Weights
from model_repo.inception_v3.classifier import is_native
from model_repo.inception_v3.repository.config import parse_config
from model_repo.inception_v3.repository.locate import find_model
from serving.config import ServingConfig, UserConfig
from serving.errors import NotFoundError
from serving.models.predictor import Decoders, Predictor
from serving.protocol.metadata import TWIN_SUFFIX, complete_config, twin_config
from serving.replicas.coordinator import LOADING, Loaded
from serving.storage import S3Store
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics

logger = logging.getLogger("ray.serve")

# `serving.replicas.coordinator.Ledger.agree`, which is in another process.
Agree = Callable[[str, int, str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Served:
    """One version of one model, under one of its two names.

    Attributes:
        config: its config.pbtxt; that of the twin where `encoded`.
        encoded: whether it takes encoded images rather than pixels.
    """

    predictor: Predictor
    config: ModelConfig
    encoded: bool = False

    @property
    def name(self) -> str:
        """Return the name that clients ask for."""
        name: str = self.config.name
        return name

    @property
    def version(self) -> str:
        """Return the version folder's name."""
        return self.predictor.spec.version


class Models:
    """Loads and unloads what is wanted; see `serving.replicas.coordinator`."""

    def __init__(
        self,
        config: ServingConfig,
        options: RuntimeOptions,
        decoders: Decoders,
        metrics: Metrics,
        statistics: Statistics,
    ) -> None:
        self._config = config
        self._limits: UserConfig = config
        self._options = replace(options, outputs=("embedding",))
        self._decoders = decoders
        self._metrics = metrics
        self._statistics = statistics
        self._served: dict[str, Served] = {}
        self._twins: dict[str, Served] = {}  # of those, under the same references
        self.loaded: dict[str, Loaded] = {}

    def all(self) -> list[Served]:
        """Return what is served, pixels first, each followed by its twin."""
        return [one for key in self._served for one in (self._served[key], self._twins[key])]

    def find(self, name: str, version: str = "") -> Served:
        """Return the version asked for, or the newest.

        Raises:
            NotFoundError: it is not served.
        """
        found = [served for served in self.all() if served.name == name]
        if not found:
            known = ", ".join(dict.fromkeys(served.name for served in self.all())) or "none"
            raise NotFoundError(f"unknown model {name!r}; there is {known}")
        by_version = {served.version: served for served in found}
        if version and version not in by_version:
            known = ", ".join(by_version)
            raise NotFoundError(f"model {name!r} has no version {version!r} here; it has {known}")
        return by_version[version or max(by_version, key=int)]

    def versions(self, name: str) -> list[str]:
        """Return the versions of `name` that are served, oldest first."""
        return sorted((one.version for one in self.all() if one.name == name), key=int)

    def first(self) -> Served:
        """Return what answers who names no model: the first that was configured.

        Raises:
            NotFoundError: nothing is loaded.
        """
        if not self._twins:
            raise NotFoundError("no model is loaded")
        return next(iter(self._twins.values()))

    def errors(self) -> list[str]:
        """Return why models that the arguments name could not be loaded.

        One that somebody has asked for later, and in vain, keeps no replica from starting.
        """
        states = [self.loaded.get(reference, LOADING) for reference in self._config.models]
        return [state.error for state in states if state.error]

    def reconfigure(self, limits: UserConfig) -> None:
        """Pass on what can change while models run."""
        self._limits = limits
        for served in self._served.values():
            served.predictor.reconfigure(limits)

    def are_as(self, wanted: dict[str, int]) -> bool:
        """Say whether `apply` has nothing to do."""
        return wanted.keys() == self.loaded.keys() and all(
            self.loaded[reference].revision >= revision for reference, revision in wanted.items()
        )

    async def apply(self, wanted: dict[str, int], agree: Agree) -> None:
        """Load and unload until what is there is what is wanted.

        A model that cannot be loaded again stays as it is; `loaded` has the reason.

        Args:
            wanted: reference → revision.
            agree: asks the ledger for the precision that all replicas take.
        """
        for reference in [key for key in self._served if key not in wanted]:
            del self._twins[reference]
            self._served.pop(reference).predictor.close()
        self.loaded = {key: state for key, state in self.loaded.items() if key in wanted}
        for reference, revision in wanted.items():
            if reference in self.loaded and self.loaded[reference].revision >= revision:
                continue
            self.loaded.setdefault(reference, LOADING)
            try:
                served = await self.load(reference, revision, agree)
            except Exception as exc:  # whatever a runtime has against it must not end the replica
                known = isinstance(exc, ModelError | OSError)
                logger.error("cannot load model %s: %s", reference, exc, exc_info=not known)
                self.loaded[reference] = Loaded(revision, str(exc) or type(exc).__name__)
            else:
                self.put(reference, served, revision)

    async def load(self, reference: str, revision: int, agree: Agree) -> Served:
        """Find one model, load it in the precision that all replicas take, and warm it up.

        Raises:
            ModelError: as `find_model` and `Classifier.load`, or this machine cannot do what the
                others do.
        """
        model, weights, options = await asyncio.to_thread(self._find, reference)
        agreed = await agree(reference, revision, options.precision)
        return await asyncio.to_thread(
            self._build,
            reference,
            model,
            weights,
            replace(options, precision=agreed),  # type: ignore[arg-type]
        )

    def _find(self, reference: str) -> tuple[Model, Weights, RuntimeOptions]:
        model, weights = find_model(self._config.source(reference), S3Store())
        return model, weights, self._options.resolve(model.precision)

    def _build(
        self, reference: str, model: Model, weights: Weights, options: RuntimeOptions
    ) -> Served:
        if self._options.precision == "auto" and not is_native(options):
            raise ModelError(
                f"other replicas run model {reference!r} in {options.precision}, in which this "
                "machine does not compute; start the service with precision=fp32"
            )
        config = parse_config(model.folder.parent / "config.pbtxt")
        wait_s = config.dynamic_batching.max_queue_delay_microseconds / 1e6
        classifier = Classifier.load(model, weights, options)
        logger.info("model %s runs in %s on %s", reference, options.precision, options.runtime)
        predictor = Predictor(classifier, wait_s, self._decoders, self._metrics, self._statistics)
        complete = complete_config(config, model.spec)
        complete.parameters["precision"].string_value = options.precision
        return Served(predictor, complete)

    def put(self, reference: str, served: Served, revision: int) -> None:
        """Serve what was loaded, instead of what was there under the same reference."""
        before = self._served.get(reference)
        served.predictor.reconfigure(self._limits)
        self._served[reference] = served
        self._twins[reference] = Served(served.predictor, twin_config(served.config), encoded=True)
        precision = served.predictor.precision
        self.loaded[reference] = Loaded(revision, precision=precision)
        if before is not None:
            before.predictor.close()

    def predictors(self) -> Iterable[Predictor]:
        """Return one predictor for each model."""
        return (served.predictor for served in self._served.values())


def repository_name(name: str) -> str:
    """Return the name of the model in the repository that `name` or its twin stands for."""
    return name.removesuffix(TWIN_SUFFIX)
