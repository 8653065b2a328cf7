"""What the command line can run: one driver a file, on the frame of `kantorch.training`."""

from kantorch.drivers.distill import Distill, DistillSettings
from kantorch.drivers.joint import Joint, JointSettings
from kantorch.drivers.transfer import Transfer, TransferSettings

__all__ = ["Distill", "DistillSettings", "Joint", "JointSettings", "Transfer", "TransferSettings"]
