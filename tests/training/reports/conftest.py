"""A policy to measure."""

import pytest

from hone.accounts.models import Project
from tests import factories
from training.models import Checkpoint


@pytest.fixture
def policy(project: Project) -> Checkpoint:
    return factories.make_checkpoint("/models/policy", name="policy-1", kind="policy", project=project)
