"""One planted layer for all tests of the room."""

import pytest

from tests.sae.sae_toys import Planted, plant


@pytest.fixture(scope="session")
def planted(tmp_path_factory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"))
