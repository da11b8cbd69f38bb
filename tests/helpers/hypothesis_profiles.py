"""Settings of the property tests, one place for all of them.

The profile `ci` is the default: the same examples in every run, and few of them. The profile
`long` draws new examples in every run, and many of them:

    pytest tests/properties --hypothesis-profile long --hypothesis-show-statistics --timeout 0

The environment variable `HYPOTHESIS_PROFILE` selects a profile, too.
"""

import os
import tempfile

from hypothesis import HealthCheck, settings

#: examples of a test that does not set its own share of them
EXAMPLES = {'ci': 40, 'long': 500}


def load_profiles() -> None:
    """Register the profiles and load the default one."""
    # Hypothesis writes its caches to the working directory otherwise.
    folder = os.path.join(tempfile.gettempdir(), 'pose_backbones_hypothesis')
    os.environ.setdefault('HYPOTHESIS_STORAGE_DIRECTORY', folder)
    # Fixtures of the module, such as a model, do not depend on the example.
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    common = dict(deadline=None, database=None, suppress_health_check=checks)
    settings.register_profile(
        'ci', derandomize=True, max_examples=EXAMPLES['ci'], print_blob=False, **common
    )
    settings.register_profile(
        'long', derandomize=False, max_examples=EXAMPLES['long'], print_blob=True, **common
    )
    settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE') or 'ci')
