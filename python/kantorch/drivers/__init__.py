"""What the command line can run: one driver a file, on the frame of `kantorch.training`."""

from kantorch.drivers.adversarial import Adversarial, AdversarialSettings
from kantorch.drivers.distill import Distill, DistillSettings
from kantorch.drivers.joint import Joint
from kantorch.drivers.joint_settings import JointSettings
from kantorch.drivers.trace import Trace, TraceSettings
from kantorch.drivers.transfer import Transfer, TransferSettings
from kantorch.drivers.w1 import W1, W1Settings

__all__ = [
    "W1",
    "Adversarial",
    "AdversarialSettings",
    "Distill",
    "DistillSettings",
    "Joint",
    "JointSettings",
    "Trace",
    "TraceSettings",
    "Transfer",
    "TransferSettings",
    "W1Settings",
]
