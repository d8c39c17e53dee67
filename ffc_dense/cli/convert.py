"""Write the weights of a checkpoint as .safetensors, a format that cannot hold code, or back as .pth.

    python tools/convert_checkpoint.py model_final.pth model_final.safetensors
    python tools/convert_checkpoint.py R-50.pkl R-50.safetensors
    python tools/convert_checkpoint.py iter_40000.pth?sha256=HEX iter_40000.safetensors --head FFCPSPHead
    python tools/convert_checkpoint.py model_final.safetensors model_final.pth

Reads detectron2's .pth and .pkl files and mmengine's .pth files, and runs no code that they name. Requires no
framework. Prints the sha256 of both files.

Only the weights are written, without optimizer, schedule and iteration. A training can start from the result
(``MODEL.WEIGHTS``, ``load_from``) but not resume from it. The metadata say where the weights are from: framework, name
and sha256 of the source, the config's head, the number of filters, the classes.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from torch import Tensor

from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import add_debug_argument, reporting
from ffc_dense.frameworks import DETECTRON2, FRAMEWORKS, by_name
from ffc_dense.reliability.saving import save_atomically
from ffc_dense.safe_files import (
    UnsafeFileError,
    Weights,
    check_digest,
    classes_in,
    read_safetensors,
    read_weights,
    read_yaml,
    sha256_of,
    split_sha256,
    without_query,
    write_safetensors,
)

LAYOUTS = {framework.name: framework.weights_key for framework in FRAMEWORKS}


def description(source: Path, weights: Weights, head: str | None) -> dict[str, str]:
    """The metadata of the .safetensors file."""
    counted = filter_counts(weights.tensors)
    found = {
        "framework": weights.framework,
        "naming": weights.naming,
        "source": source.name,
        "source_sha256": sha256_of(source),
        "num_filters": ",".join(map(str, sorted(set(counted.values())))) or "0",
        "normalize_input": "true" if any(".input_norm." in key for key in weights.tensors) else "",
        "head": head or weights.head or trained_head(source),
        "classes": json.dumps(weights.classes) if weights.classes else "",
    }
    return {key: value for key, value in found.items() if value}


def filter_counts(tensors: dict[str, Tensor]) -> dict[str, int]:
    """{classifier: number of filters} of the FFC classifiers."""
    counts: dict[str, int] = {}
    for key in tensors:
        found = re.fullmatch(r"(.*)\.filters\.(\d+)\.weight", key)
        if found:
            counts[found[1]] = max(counts.get(found[1], 0), int(found[2]) + 1)
    return counts


def trained_head(source: Path) -> str | None:
    """``MODEL.ROI_HEADS.NAME`` in the settings that a detectron2 training left beside its checkpoints."""
    for name in ("train_config.yaml", "config.yaml"):
        settings = source.parent / name
        try:
            return read_yaml(settings)["MODEL"]["ROI_HEADS"]["NAME"]
        except (FileNotFoundError, KeyError, TypeError, UnsafeFileError):  # another kind of run has no such key
            continue
    return None


def to_safetensors(source: Path, target: Path, head: str | None) -> dict[str, str]:
    weights = read_weights(source)
    metadata = description(source, weights, head)
    write_safetensors(weights.tensors, target, metadata)
    return metadata


def to_torch(source: Path, target: Path, framework: str | None) -> dict[str, str]:
    tensors, metadata = read_safetensors(source)
    framework = framework or metadata.get("framework")
    if framework not in LAYOUTS:
        raise UnsafeFileError(f"{source}: its metadata name no framework; add --framework {' or '.join(LAYOUTS)}")
    content: dict = {LAYOUTS[framework]: tensors}
    classes = classes_in(metadata, source)
    if classes and framework == DETECTRON2.name:
        content["class_names"] = classes
    if framework == DETECTRON2.name and metadata.get("naming"):
        content |= {"__author__": metadata["naming"], "matching_heuristics": True}
    if by_name(framework).scope:  # mmengine's loader asks for it
        content["meta"] = {"dataset_meta": {"classes": classes}} if classes else {}
    save_atomically(content, target)
    return metadata


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help=".pth, .pyth, .pkl or .safetensors file; ?sha256=HEX may follow")
    parser.add_argument("target", type=Path, help=".safetensors file, or .pth if the source is one")
    parser.add_argument("--head", help="name of the head for the metadata, such as FFCStandardROIHeads")
    parser.add_argument("--framework", choices=sorted(LAYOUTS), help="framework of the .pth; default: the source's")
    parser.add_argument("--overwrite", action="store_true", help="replace the target once the new file is complete")
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    given, wanted = Path(without_query(args.source)).suffix, args.target.suffix
    if (given == ".safetensors", wanted) not in ((True, ".pth"), (False, ".safetensors")):
        parser.error(f"expected FILE.pth|.pkl FILE.safetensors, or FILE.safetensors FILE.pth; got {given} {wanted}")
    if args.target.exists() and not args.overwrite:
        parser.error(f"{args.target} exists already; name another file, or add --overwrite")
    if not args.target.parent.is_dir():
        parser.error(f"{args.target}: there is no folder {args.target.parent}; make it first")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with reporting("convert_checkpoint.py", args.debug):
        convert(args)


def convert(args: argparse.Namespace) -> None:
    name, digest = split_sha256(args.source)
    source = Path(name)
    try:
        check_digest(source, digest, lambda message: print(f"convert_checkpoint: warning: {message}", file=sys.stderr))
        if args.target.suffix == ".safetensors":
            metadata = to_safetensors(source, args.target, args.head)
        else:
            metadata = to_torch(source, args.target, args.framework)
    except OSError as error:  # from reading; writing raises NotSaved
        raise UserError(str(error)) from error
    for key, value in metadata.items():
        print(f"{key}: {value}")
    print(f"{sha256_of(source)}  {source}\n{sha256_of(args.target)}  {args.target}")


def command(argv: list[str] | None = None) -> None:
    main(argv)
