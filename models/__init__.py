"""A model's life: dataset, training, compiling, evaluation; `bundles/` and `recipes/` are what ships."""

import inspector  # first of all, so that OpenVINO finds nobody to report to (see there)

__all__ = ["inspector"]
