"""`--protocol paper`: the settings that the papers state, where they state them.

What a paper leaves open is marked here with the reading that was taken. All of it is for the papers'
own data and networks, which the user has to hand in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from kantorch.training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Protocol = Literal["small", "paper"]

RUNS = 5  # "five different runs"
LEVELS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

# Li et al.: Representation Transfer by Optimal Transport, section 4.2 and appendix A.1.
TRANSFER: dict[str, Any] = {
    "backbone": "torchvision:resnet101",
    # The 19th of 33 residual units is the 12th of the third stage; the penultimate layer pools.
    "layers": ("layer3.11", "avgpool"),
    "source_data": "none",
    "target_classes": ("all",),
    "labels_per_class": "all",
    "validation_per_class": 5,  # unstated: "cross-validation"
    "image_resize": 256,
    "image_size": 224,
    "augment": ("mirror", "blur"),
    "shift": 0,
    "test_crops": "ten",
    "steps": 9000,
    "rate_falls": (6000,),
    "batch_size": 64,
    "momentum": 0.9,
    "learning_rates": (0.005, 0.01, 0.02, 0.04),
    "methods": ("none", "l2", "l2sp", "identity", "uniform", "optimal"),
    "grids": {name: {"alpha": LEVELS} for name in ("l2", "l2sp", "identity", "uniform", "optimal")},
    "seeds": RUNS,
    "loaders": 8,
}
FOOD = {"steps": 16000, "rate_falls": (8000, 12000)}

# The same, section 4.3 and appendix A.2.
_TRAINING = {"steps": 160_000, "rate_falls": (80_000, 120_000), "batch_size": 64}
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
DISTILL: dict[str, Any] = {
    "teacher_backbone": "resnet1001",  # L; W is wrn-28-10
    "backbone": "resnet56",  # M; S is resnet56-slim
    "random_start": True,
    "layers": ("pool",),  # unstated
    "source_classes": ("all",),
    "target_classes": ("all",),
    "labels_per_class": "all",
    "source_validation": 0.1,  # 45 000 and 5000 images, as He et al.
    "shift": 4,
    "augment": ("mirror",),
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "learning_rates": (0.1,),
    "pretrain_learning_rate": 0.1,
    **_TRAINING,
    **{f"pretrain_{name}": value for name, value in _TRAINING.items()},
    "methods": ("none", "identity", "uniform", "kd", "optimal"),
    "grids": {name: {"alpha": _STRENGTHS} for name in ("identity", "uniform", "optimal")}
    | {"kd": {"alpha": _STRENGTHS, "temperature": (4.0, 5.0, 10.0)}},
    "seeds": RUNS,  # unstated for compression
    "loaders": 4,
}

# Lu, Chen, Saidi: Optimal transport for deep joint transfer learning, section 4. Rates, strengths,
# batches and iterations are unstated; "small", "larger" and "from scratch" are factors here.
JOINT: dict[str, Any] = {
    "backbone": "torchvision:alexnet",
    "layer_rates": {
        **{f"features.{k}": 0.0 for k in (0, 3, 6)},  # conv1 to conv3
        **{f"features.{k}": 0.1 for k in (8, 10)},  # conv4 and conv5
        **{f"classifier.{k}": 1.0 for k in (1, 4)},  # fc6 and fc7
        "classifier.6": 10.0,
        "source_head": 10.0,
    },
    "features": "initial",  # fc7 of the network that knows ImageNet alone
    "labels_per_class": "all",
    "validation_per_class": 5,
    "source_validation": 0.01,  # of the source "all" images are used
    "image_resize": 256,
    "image_size": 224,
    "augment": ("mirror",),
    "shift": 0,
    "steps": 5000,
    "pretrain_steps": 5000,
    "batch_size": 64,
    "learning_rates": (0.001, 0.003),
    "pretrain_learning_rate": 0.001,
    "methods": ("target", "consecutive", "joint", "jtln_mkmmd", "jtln_ot"),
    "seeds": RUNS,
    "loaders": 8,
}
# Table 1: target classes, target images to train on and to test, source classes, source images.
COUNTS = {"Boeing": (22, 1466, 734, 78, 7800), "Airbus": (13, 867, 433, 87, 8700)}


def transfer(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the paper's fine-tuning, on the data that are given."""
    data = _given("transfer", given, "data", ("aircraft:", "cub:", "cars:", "dogs:", "food101:"))
    _given("transfer", given, "teacher")
    if data.startswith("dogs:"):
        # The test part of Stanford Dogs is a part of what the network has learnt from.
        _given("transfer", given, "test_data")
    return TRANSFER | (FOOD if data.startswith("food101:") else {})


def distill(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the paper's compression, on the data that are given."""
    if given.get("new_task"):
        msg = "protocol 'paper' is for compression: none was published for new_task"
        raise ConfigError(msg)
    data = _given("distill", given, "data", ("cifar10:", "cifar100:"))
    return DISTILL | {"validation_per_class": 500 if data.startswith("cifar10:") else 50}


def joint(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the paper's joint training, on planes of one manufacturer and all others."""
    _given("joint", given, "data", ("aircraft:",))
    _given("joint", given, "initial")
    target = given.get("target_classes", "manufacturer=Boeing")
    (text,) = [target] if isinstance(target, str) else target[:1]
    source = str(text).replace("=", "!=", 1)
    return JOINT | {"target_classes": (text,), "source_classes": (source,)}


def manufacturer(classes: tuple[int | str, ...]) -> str | None:
    """The manufacturer whose planes are the target, if the classes name one."""
    text = str(classes[0])
    return text.removeprefix("manufacturer=") if text.startswith("manufacturer=") else None


def _given(driver: str, given: Mapping[str, Any], name: str, kinds: tuple[str, ...] = ()) -> str:
    value = given.get(name)
    if value is None or (kinds and not str(value).startswith(kinds)):
        what = " or ".join(f"{kind}PATH" for kind in kinds) or "a file or data set"
        msg = f"protocol 'paper' of {driver} needs {name}: {what}, got {value!r}"
        raise ConfigError(msg)
    return str(value)
