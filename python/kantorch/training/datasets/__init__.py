"""Image data sets as they lie on disk, read without the libraries that download them.

A data set is named FORMAT:PATH. PATH is the folder that torchvision calls `root`, or the data set's own
folder in it; nothing is downloaded, and nothing takes the place of what is missing.
"""

from kantorch.training.datasets.formats import FORMATS, format_of, read_images
from kantorch.training.datasets.image_set import TEST, TRAIN, VALIDATION, ImageSet

__all__ = ["FORMATS", "TEST", "TRAIN", "VALIDATION", "ImageSet", "format_of", "read_images"]
