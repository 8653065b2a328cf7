"""Networks of the papers' compression experiments, for images of 32 x 32 pixels.

Every network has a layer `pool`, whose output (n, width) is what the transport regularizers compare,
and a linear `head`.
"""

from kantorch.models.cifar_resnet import CifarResNet
from kantorch.models.named import MODELS, make_model
from kantorch.models.wide_resnet import WideResNet

__all__ = ["MODELS", "CifarResNet", "WideResNet", "make_model"]
