"""The models that one replica has loaded, by the names that clients use."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tritonclient.grpc.model_config_pb2 import ModelConfig

from model_repo.inception_v3 import Classifier, ModelError, RuntimeOptions
from model_repo.inception_v3.repository.config import parse_config
from model_repo.inception_v3.repository.locate import find_model
from serving.config import ServingConfig, UserConfig
from serving.errors import NotFoundError
from serving.models.predictor import Decoders, Predictor
from serving.models.state import LOADING, Loaded
from serving.protocol.metadata import complete_config, image_variant_config
from serving.telemetry.metrics import Metrics
from serving.telemetry.statistics import Statistics

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class Served:
    """One version of one model, under one of its two names."""

    predictor: Predictor
    config: ModelConfig  # that of the image variant where `encoded`
    encoded: bool = False  # whether it takes encoded images rather than pixels

    @property
    def name(self) -> str:
        """Return the name that clients use."""
        return str(self.config.name)

    @property
    def version(self) -> str:
        """Return the version folder's name."""
        return self.predictor.spec.version


class Models:
    """Loads and unloads models as the coordinator asks; see `serving.replicas.coordinator`."""

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
        self._shared = decoders, metrics, statistics
        # reference → the model for pixels, and its image variant
        self._served: dict[str, tuple[Served, Served]] = {}
        self.loaded: dict[str, Loaded] = {}

    def all(self) -> list[Served]:
        """Return what is served, each model for pixels followed by its image variant."""
        return [one for pair in self._served.values() for one in pair]

    def find(self, name: str, version: str = "") -> Served:
        """Return the version asked for, by default the newest.

        Raises:
            NotFoundError: it is not served.
        """
        by_version = {served.version: served for served in self.all() if served.name == name}
        if not by_version:
            known = ", ".join(dict.fromkeys(served.name for served in self.all())) or "none"
            raise NotFoundError(f"unknown model {name!r}; there is {known}")
        if version and version not in by_version:
            known = ", ".join(by_version)
            raise NotFoundError(f"model {name!r} has no version {version!r} here; it has {known}")
        return by_version[version or max(by_version, key=int)]

    def versions(self, name: str) -> list[str]:
        """Return the versions of `name` that are served, oldest first."""
        return sorted((one.version for one in self.all() if one.name == name), key=int)

    def first(self) -> Served:
        """Return what answers requests that name no model: the first loaded, for images.

        Raises:
            NotFoundError: nothing is loaded.
        """
        if not self._served:
            raise NotFoundError("no model is loaded")
        return next(iter(self._served.values()))[1]

    def errors(self) -> list[str]:
        """Return why configured models could not be loaded.

        Models that were asked for later do not count: they must not keep a replica from starting.
        """
        states = [self.loaded.get(reference, LOADING) for reference in self._config.models]
        return [state.error for state in states if state.error]

    def reconfigure(self, limits: UserConfig) -> None:
        """Apply what can change while models run."""
        self._limits = limits
        for predictor in self.predictors():
            predictor.reconfigure(limits)

    def are_as(self, wanted: dict[str, int]) -> bool:
        """Say whether `apply` has nothing to do."""
        return wanted.keys() == self.loaded.keys() and all(
            self.loaded[reference].revision >= revision for reference, revision in wanted.items()
        )

    async def apply(self, wanted: dict[str, int]) -> None:
        """Load and unload until the wanted models, reference → revision, are there.

        A model that cannot be loaded again stays as it is; `loaded` has the reason.
        """
        for reference in [key for key in self._served if key not in wanted]:
            self._served.pop(reference)[0].predictor.close()
        self.loaded = {key: state for key, state in self.loaded.items() if key in wanted}
        for reference, revision in wanted.items():
            if self.loaded.setdefault(reference, LOADING).revision >= revision:
                continue
            try:
                served = await asyncio.to_thread(self.load, reference)
            except Exception as exc:  # any runtime's error; it must not end the replica
                known = isinstance(exc, ModelError | OSError)
                logger.error("cannot load model %s: %s", reference, exc, exc_info=not known)
                self.loaded[reference] = Loaded(revision, str(exc) or type(exc).__name__)
            else:
                self.put(reference, served, revision)

    def load(self, reference: str) -> Served:
        """Find one model, load it and warm it up.

        Raises:
            ModelError: as `find_model` and `Classifier.load`.
        """
        model, weights = find_model(self._config.source(reference))
        classifier = Classifier.load(model, weights, self._options)
        options = classifier.options
        logger.info("model %s runs in %s on %s", reference, options.precision, options.runtime)
        config = parse_config(model.folder.parent / "config.pbtxt")
        wait_s = config.dynamic_batching.max_queue_delay_microseconds / 1e6
        predictor = Predictor(classifier, wait_s, *self._shared)
        complete = complete_config(config, model.spec)
        complete.parameters["precision"].string_value = options.precision
        return Served(predictor, complete)

    def put(self, reference: str, served: Served, revision: int) -> None:
        """Serve a loaded model in place of the one with the same reference, if any."""
        predictor = served.predictor
        predictor.reconfigure(self._limits)
        variant = Served(predictor, image_variant_config(served.config), encoded=True)
        before, _ = self._served.get(reference, (None, None))
        self._served[reference] = served, variant
        self.loaded[reference] = Loaded(revision)
        if before:
            before.predictor.close()

    def predictors(self) -> Iterable[Predictor]:
        """Return one predictor for each model."""
        return (served.predictor for served, _ in self._served.values())
