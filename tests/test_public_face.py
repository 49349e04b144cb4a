"""What `from flaxner import ...` gives, in whatever order modules were imported."""

import subprocess
import sys

import pytest

import flaxner


@pytest.mark.parametrize("name", flaxner.__all__)
def test_every_public_name_is_there(name):
    assert callable(getattr(flaxner, name))


def test_a_function_is_not_hidden_by_the_module_of_its_name():
    code = (
        "import flaxner.pipeline\n"
        "from flaxner.pipeline import NerPipeline\n"
        "from flaxner import pipeline\n"
        "assert pipeline.__name__ == 'pipeline' and not hasattr(pipeline, 'NerPipeline'), pipeline"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, flaxner; print(sorted({'jax', 'transformers', 'torch'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        flaxner.nope  # noqa: B018
