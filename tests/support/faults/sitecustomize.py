"""Makes the classifier slow or hang; on PYTHONPATH, every Python process of the service imports it.

FORWARD_SECONDS: each image of a pass costs so much sleep, in place of the network's computing.
HANG_ONCE: a pass with an image that is red all over never ends; the file of this name is then made,
and while it is there nothing hangs.
"""

import os
import sys
import time
from importlib.machinery import PathFinder
from pathlib import Path

MODULE = "model_repo.inception_v3.classifier"
FORWARD_SECONDS = float(os.environ.get("FORWARD_SECONDS", "0"))
HANG_ONCE = os.environ.get("HANG_ONCE")
RED = (254, 0, 0)  # as a JPEG has it


def patch(module):
    predict = module.Classifier.predict

    known = []  # what the network says of the first image that it ever sees

    def hanging(self, pixels):
        if any(tuple(each[:, 150, 150]) == RED for each in pixels):
            try:
                Path(HANG_ONCE).touch(exist_ok=False)
            except FileExistsError:
                return predict(self, pixels)
            time.sleep(3600)
        return predict(self, pixels)

    def sleeping(self, pixels):
        if not known:
            known.append(predict(self, pixels[:1]))
        time.sleep(FORWARD_SECONDS * len(pixels))
        return module.Outputs(
            logits=known[0].logits.repeat(len(pixels), 0),
            embedding=known[0].embedding.repeat(len(pixels), 0),
        )

    module.Classifier.predict = hanging if HANG_ONCE else sleeping


class Finder:
    """Patches the module when it has been imported."""

    @staticmethod
    def find_spec(name, path, target=None):
        if name != MODULE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


if FORWARD_SECONDS or HANG_ONCE:
    sys.meta_path.insert(0, Finder)
