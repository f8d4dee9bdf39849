import subprocess
import sys

import model_repo.inception_v3 as package


def test_all_is_sorted_as_ruff_sorts_it():
    constants = [name for name in package.__all__ if name.isupper()]
    classes = [name for name in package.__all__ if name[0].isupper() and not name.isupper()]
    functions = [name for name in package.__all__ if name[0].islower()]

    assert package.__all__ == sorted(constants) + sorted(classes) + sorted(functions)


def test_all_is_importable():
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_import_loads_no_heavy_package():
    heavy = "{'torch', 'torchvision', 'openvino', 'ray', 'boto3', 'botocore'}"
    code = f"import sys, model_repo.inception_v3; print(sorted({heavy} & set(sys.modules)))"

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert (result.stdout, result.stderr) == ("[]\n", "")
