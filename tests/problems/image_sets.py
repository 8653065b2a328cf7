"""Tiny data sets in the very formats in which the real ones lie on disk."""

from __future__ import annotations

import json
import pickle

import numpy as np
from PIL import Image
from scipy.io import savemat

KINDS = ("cifar10", "cifar100", "aircraft", "cub", "cars", "dogs", "food101", "caltech101")
MAKERS = {
    "737-200": "Boeing",
    "747-100": "Boeing",
    "A300B4": "Airbus",
    "A310": "Airbus",
    "DC-3": "Douglas Aircraft Company",
}
FAMILIES = {"737-200": "Boeing 737"}


def picture(path, number, size=(40, 30)):
    """An image whose mean tells its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    pixels = np.clip(rng.normal(20 + 3 * (number % 70), 5, (size[1], size[0], 3)), 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def folder(root, classes=4, count=6, parts=()):
    """PATH/CLASS/k.png, or PATH/PART/CLASS/k.png; returns the classes' names."""
    names = [f"class{k}" for k in range(classes)]
    for of_part, part in enumerate(parts or (".",)):
        for k, name in enumerate(names):
            for n in range(count):
                picture(root / part / name / f"{n}.png", 100 * of_part + 10 * k + n)
    return names


def cifar10(root, per_class=4):
    """Five batches of 10 classes, and a test batch; returns images by file."""
    base = root / "cifar-10-batches-py"
    base.mkdir(parents=True)
    rng = np.random.default_rng(0)
    kept = {}
    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
        labels = list(range(10)) * per_class
        data = rng.integers(0, 255, (len(labels), 3072), dtype=np.uint8)
        kept[name] = data, labels
        content = {"batch_label": name, "labels": labels, "data": data, "filenames": []}
        (base / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {"label_names": [f"thing{k}" for k in range(10)], "num_vis": 3072}
    (base / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    return kept


def cifar100(root, per_class=2):
    base = root / "cifar-100-python"
    base.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for name in ("train", "test"):
        labels = list(range(100)) * per_class
        data = rng.integers(0, 255, (len(labels), 3072), dtype=np.uint8)
        content = {"fine_labels": labels, "coarse_labels": [x // 5 for x in labels], "data": data}
        (base / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {
        "fine_label_names": [f"thing{k}" for k in range(100)],
        "coarse_label_names": [f"group{k}" for k in range(20)],
    }
    (base / "meta").write_bytes(pickle.dumps(names, protocol=2))


def aircraft(root, train=4, val=4, test=4, makers=MAKERS):
    base = root / "fgvc-aircraft-2013b" / "data"
    parts, number = {"train": train, "val": val, "test": test}, 0
    lists = {}
    for part, count in parts.items():
        for variant, maker in makers.items():
            family = FAMILIES.get(variant, variant)
            for _ in range(count):
                name = f"{number:07d}"
                picture(base / "images" / f"{name}.jpg", number)
                number += 1
                levels = {"variant": variant, "family": family, "manufacturer": maker}
                for level, label in levels.items():
                    kinds = [part] if part == "test" else [part, "trainval"]
                    for kind in kinds:
                        lists.setdefault(f"images_{level}_{kind}.txt", []).append(f"{name} {label}")
    for name, lines in lists.items():
        (base / name).write_text("\n".join(lines) + "\n")
    for level, names in {
        "variants": makers,
        "families": dict.fromkeys(FAMILIES.get(v, v) for v in makers),
        "manufacturers": dict.fromkeys(makers.values()),
    }.items():
        (base / f"{level}.txt").write_text("\n".join(names) + "\n")


def cub(root, classes=3, count=6):
    base = root / "CUB_200_2011"
    base.mkdir(parents=True)
    lists = {name: [] for name in ("classes", "images", "image_class_labels", "train_test_split")}
    number = 0
    for k in range(1, classes + 1):
        name = f"{k:03d}.Bird_{k}"
        lists["classes"].append(f"{k} {name}")
        for n in range(count):
            number += 1
            picture(base / "images" / name / f"Bird_{n}.jpg", number)
            lists["images"].append(f"{number} {name}/Bird_{n}.jpg")
            lists["image_class_labels"].append(f"{number} {k}")
            lists["train_test_split"].append(f"{number} {int(n < 4)}")
    for name, lines in lists.items():
        (base / f"{name}.txt").write_text("\n".join(lines) + "\n")


def cars(root, classes=3, count=4):
    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    names = np.array([f"Car {k}" for k in range(classes)], dtype=object)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": names[None]})
    kind = [("bbox_x1", "u1"), ("class", "u1"), ("fname", object)]
    for part, where in (
        ("train", base / "devkit" / "cars_train_annos.mat"),
        ("test", base / "cars_test_annos_withlabels.mat"),
    ):
        rows = []
        for n in range(classes * count):
            picture(base / f"cars_{part}" / f"{n + 1:05d}.jpg", n)
            rows.append((1, n % classes + 1, f"{n + 1:05d}.jpg"))
        savemat(where, {"annotations": np.array(rows, dtype=kind)[None]})


def dogs(root, classes=3, count=6):
    names = [f"n0208{k:04d}-Breed_{k}" for k in range(classes)]
    files = {"train": [], "test": []}
    for k, name in enumerate(names):
        for n in range(count):
            picture(root / "Images" / name / f"{name[:9]}_{n}.jpg", 10 * k + n)
            part = "train" if n < 4 else "test"
            files[part].append((f"{name}/{name[:9]}_{n}.jpg", k + 1))
    for part, found in files.items():
        paths = np.array([path for path, _ in found], dtype=object)[:, None]
        labels = np.array([label for _, label in found], dtype=np.uint8)[:, None]
        savemat(root / f"{part}_list.mat", {"file_list": paths, "labels": labels})
    return names


def food101(root, classes=3):
    base = root / "food-101"
    lists = {"train": {}, "test": {}}
    for k in range(classes):
        for part, count in (("train", 4), ("test", 2)):
            for n in range(count):
                path = f"dish_{k}/{part}{n}"
                picture(base / "images" / f"{path}.jpg", 10 * k + n)
                lists[part].setdefault(f"dish_{k}", []).append(path)
    (base / "meta").mkdir()
    for part, found in lists.items():
        (base / "meta" / f"{part}.json").write_text(json.dumps(found))
        lines = [path for paths in found.values() for path in paths]
        (base / "meta" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    (base / "meta" / "classes.txt").write_text("\n".join(lists["train"]) + "\n")


def caltech101(root, classes=3, count=4):
    base = root / "caltech101" / "101_ObjectCategories"
    for name in [*(f"thing_{k}" for k in range(classes)), "BACKGROUND_Google"]:
        for n in range(count):
            picture(base / name / f"image_{n + 1:04d}.jpg", n)
    (root / "caltech101" / "Annotations").mkdir()
