"""Evaluate a detectron2 checkpoint under any test mode of FFC, in one pass over the data for all of them.

The evaluator is that of the dataset's ``evaluator_type``: COCO's official one, LVIS', Pascal VOC's, Cityscapes' ...
With ``TEST.AUG.ENABLED True``, detectron2's test-time augmentation is scored, in one pass for each test mode. Writes,
under ``--output``: ``reductions.json`` with every score, ``<dataset>/<reduction>/coco_instances_results.json`` in
COCO's result format (for the test server too: name ``coco_2017_test-dev`` in DATASETS.TEST), and a Markdown table on
the standard output. A checkpoint that lacks weights of the model, or was trained with the classes in another order than
the test set's, is refused.

    python tools/eval_coco.py --config-file CONFIG.yaml --reduce all [--num-gpus 8] MODEL.WEIGHTS model_final.pth

``--opinions`` adds the votes of the outputs to every detection in the result files; scores and AP stay the same.
``--ensemble`` evaluates several checkpoints as one detector, under vote and mean (paper Table 7), and writes
``ensemble.json`` in the place of ``reductions.json``.

A LazyConfig (.py) takes KEY=VALUE in the place of KEY VALUE, and its own test set and evaluator are used.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.utils import comm
from torch import nn

from ffc_dense import text
from ffc_dense.detection import (
    AllReductions,
    DetectorEnsemble,
    EvalCheckpointer,
    PerReduction,
)
from ffc_dense.detection.commands.recipes import LazyRecipe, Recipe, YamlRecipe
from ffc_dense.detection.commands.running import argument_parser, run
from ffc_dense.detection.commands.train import setup
from ffc_dense.detection.commands.train_lazy import setup as setup_lazy
from ffc_dense.detection.evaluation.evaluators import OF_INSTANCES, check_evaluators
from ffc_dense.detection.evaluation.reductions import AugmentedReductions
from ffc_dense.detection.inputs.datasets import register_own
from ffc_dense.detection.inputs.lazy import WEIGHTS, is_lazy, override, read_lazy_config
from ffc_dense.detection.inputs.read_config import read_config
from ffc_dense.detection.inputs.startup import check_weights
from ffc_dense.errors import UserError
from ffc_dense.errors.quiet import add_verbose_argument, framework_output
from ffc_dense.errors.reporting import reading_input, reporting
from ffc_dense.frameworks import DETECTRON2
from ffc_dense.runs.files import within_run
from ffc_dense.safe_files import require_safetensors, without_query

KEYS = ("MODEL.WEIGHTS", "OUTPUT_DIR", " ")
LAZY_KEYS = (WEIGHTS, "train.output_dir", "=")
COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
CONFIG_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+|[+~]?[a-z_]\w*(\.\w+)+=.*")  # and a LazyConfig's KEY=VALUE


def load(recipe: Recipe, wanted: list[str], opinions: bool = False) -> AllReductions:
    """The trained detector, under each of the test modes ``wanted``."""
    model, names = recipe.load(wanted, opinions)
    recipe.check_class_order()
    if recipe.augmented:
        return AugmentedReductions(model, names, GeneralizedRCNNWithTTA(recipe.cfg, model))
    return AllReductions(model, names)


def load_ensemble(recipes: list[Recipe], wanted: list[str], opinions: bool = False) -> DetectorEnsemble:
    """The trained detectors as one, under each of the test modes ``wanted``, vote and mean by default.

    Raises:
        UserError: the detectors do not fit together.
    """
    first = recipes[0].input()
    for number, recipe in enumerate(recipes[1:], start=2):
        for key, value in recipe.input().items():
            if value != first[key]:
                raise UserError(f"--ensemble: detectors 1 and {number} differ in {key}: {first[key]} and {value}")
    members = []
    for recipe in recipes:
        members.append(recipe.load()[0].eval())
        recipe.check_class_order(recipes[0].datasets)
    names = ["vote", "mean"] if not wanted or "all" in wanted else list(dict.fromkeys(wanted))
    return DetectorEnsemble(members, names, opinions)


def other_recipes(args, device: str) -> Iterator[Recipe]:
    """Those of the further checkpoints of ``--ensemble``, which run on ``device`` with the overrides of the first."""
    for file, weights in zip(args.configs, args.ensemble, strict=True):
        if args.weights_only:
            require_safetensors(weights, "--ensemble")
        check_weights(weights, "--ensemble", needed=True)
        if is_lazy(file):
            own = [override("train.device", device), override(WEIGHTS, weights)]
            yield LazyRecipe(read_lazy_config(file, [*args.opts, *own], ()))
        else:
            yield YamlRecipe(read_config(file, [*args.opts, "MODEL.DEVICE", device, "MODEL.WEIGHTS", weights], ()))


def evaluate(recipe: Recipe, model: AllReductions | DetectorEnsemble, opinions: bool = False) -> dict:
    """{dataset: {test mode: {"bbox": {"AP": percent, ...}, ...}}}; empty on other ranks than the first.

    With ``TEST.AUG`` the tasks are ``bbox_TTA`` and so on, as in detectron2's ``tools/train_net.py``.
    """
    scores = {}
    for dataset in recipe.datasets:
        folders = {name: os.path.join(recipe.output_dir, dataset, name) for name in model.names}
        with reading_input(recipe.explain):
            evaluators = {name: recipe.evaluator(dataset, folder, opinions) for name, folder in folders.items()}
            loader = recipe.loader(dataset)
        found = inference_on_dataset(model, loader, PerReduction(evaluators))
        end = "_TTA" if recipe.augmented else ""
        scores[dataset] = {
            name: results and {task + end: values for task, values in results.items()}
            for name, results in found.items()
        }
    return scores


def table(scores: dict) -> str:
    """Markdown, a row per dataset, task and test mode; scores of single classes are in the JSON alone."""
    tasks = [
        (dataset, task, name, values)
        for dataset, reductions in scores.items()
        for name, results in reductions.items()
        for task, values in (results or {}).items()
    ]
    found = {metric for *_, values in tasks for metric in values if "-" not in metric} or set(COLUMNS)
    columns = [*(metric for metric in COLUMNS if metric in found), *sorted(found.difference(COLUMNS))]
    rows = [
        [dataset, task, name, *(f"{values[column]:.2f}" if column in values else "" for column in columns)]
        for dataset, task, name, values in tasks
    ]
    return text.table(["dataset", "task", "test mode", *columns], rows)


def checkpoint_and_output(args) -> tuple[str, str]:
    """The checkpoint to evaluate and the folder for the results: of its own, so that no training's files are replaced.

    Raises:
        UserError: the config is wrong or not a yaml file, no checkpoint is named, ``--resume`` finds none, or the
            folder cannot be told from the checkpoint.
    """
    if not args.config_file:
        raise UserError("--config-file: none is given; name the config that the checkpoint was trained with")
    for flag, file in [("--config-file", args.config_file), *(("--ensemble-configs", file) for file in args.configs)]:
        if not file.endswith((".yaml", ".yml", ".py")):
            raise UserError(f"{flag}: expected a .yaml file or a LazyConfig's .py, got {file!r}")
        if is_lazy(file) != is_lazy(args.config_file):
            raise UserError(
                f"{flag}: {file} and {args.config_file} are of two kinds, whose overrides differ; name yaml files or "
                "LazyConfigs alone"
            )
    if is_lazy(args.config_file):
        lazy = read_lazy_config(args.config_file, args.opts, ("TEST",), weights_only=args.weights_only)
        weights, folder, keys = lazy.train.init_checkpoint, lazy.train.output_dir, LAZY_KEYS
    else:
        cfg = read_config(args.config_file, args.opts, ("TEST",))
        weights, folder, keys = cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, KEYS
    if args.resume:
        checkpointer = EvalCheckpointer(nn.Module(), save_dir=folder)
        if not checkpointer.has_checkpoint():
            raise UserError(f"--resume: there is no checkpoint in {keys[1]} {folder}")
        weights = checkpointer.get_checkpoint_file()
    if not weights:
        raise UserError(f"nothing to evaluate: add {keys[0]}{keys[2]}CHECKPOINT at the end, or --resume")
    if not args.output and args.ensemble:
        raise UserError("--output: name a folder for the results of the ensemble")
    if not args.output and "://" in weights:
        raise UserError(f"--output: name a folder for the results of {weights}")
    path = Path(without_query(weights))  # ?sha256=HEX may follow
    return weights, args.output or str(path.parent / f"eval_{path.stem}")


def check_choices(recipe: Recipe, opinions: bool, ensemble: bool) -> None:
    """Raises a UserError for what this command cannot evaluate."""
    flag = "--opinions" if opinions else "--ensemble" if ensemble else ""
    if flag:
        kinds = ("coco",) if opinions else OF_INSTANCES
        check_evaluators(recipe.datasets, f"{flag}: {recipe.datasets_key}", kinds)
    if flag and recipe.augmented:
        raise UserError(f"TEST.AUG.ENABLED: not with {flag}; set it to False")


def scored(args) -> tuple[Recipe, dict]:
    """What is evaluated, and its scores as :func:`evaluate` gives them."""
    lazy = is_lazy(args.config_file)
    cfg = (setup_lazy if lazy else setup)(args)
    recipe = LazyRecipe(cfg) if lazy else YamlRecipe(cfg)
    with reading_input(recipe.explain):
        check_choices(recipe, args.opinions, bool(args.ensemble))
        if args.ensemble:
            others = other_recipes(args, cfg.train.device if lazy else cfg.MODEL.DEVICE)
            model = load_ensemble([recipe, *others], args.reduce, args.opinions)
        else:
            model = load(recipe, args.reduce, args.opinions)
    return recipe, evaluate(recipe, model, args.opinions)


def main(args) -> dict:
    with framework_output(args.verbose):
        recipe, scores = scored(args)
    if comm.is_main_process():
        report = {"framework": DETECTRON2.name, "config": args.config_file, "weights": recipe.weights}
        if args.ensemble:
            report["ensemble"] = [list(pair) for pair in zip(args.configs, args.ensemble, strict=True)]
        report |= within_run(recipe.weights, recipe.output_dir)
        first = recipe.datasets[0]
        report |= {"dataset": first, "results": scores[first], "datasets": scores}
        # Not reductions.json, whose scores belong to one training.
        file = Path(recipe.output_dir, "ensemble.json" if args.ensemble else "reductions.json")
        text.write_json(report, file)
        print(table(scores))
        print(f"scores and COCO result files: {recipe.output_dir}")
    return scores


def without_config_keys(values: list[str]) -> tuple[list[str], list[str]]:
    """The files that follow an option of many, and the KEY VALUE pairs that argparse has taken for more of them."""
    first = next((i for i, value in enumerate(values) if CONFIG_KEY.fullmatch(value)), len(values))
    return values[:first], values[first:]


def parse_args(argv: list[str] | None = None):
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--reduce", type=lambda names: names.split(","), default=[], metavar="NAMES",
        help="vote, mean, out1 ... out7, several with commas, or all; default: the config's own. Not for stock models",
    )  # fmt: skip
    parser.add_argument("--output", help="folder for the results; eval_CHECKPOINT beside the checkpoint by default")
    parser.add_argument(
        "--opinions", action="store_true",
        help="write the class distribution, the votes and the winning output of every detection to the result files",
    )  # fmt: skip
    parser.add_argument(
        "--ensemble", nargs="+", default=[], metavar="CHECKPOINT",
        help="further checkpoints; they and MODEL.WEIGHTS detect as one, under vote and mean",
    )  # fmt: skip
    parser.add_argument(
        "--ensemble-configs", nargs="+", default=[], metavar="CONFIG", dest="configs",
        help="their configs, one for each --ensemble checkpoint; --config-file by default",
    )  # fmt: skip
    add_verbose_argument(parser)
    args = parser.parse_args(argv)
    for name in ("ensemble", "configs"):
        files, pairs = without_config_keys(getattr(args, name))
        setattr(args, name, files)
        args.opts = [*pairs, *args.opts]
    if args.configs and len(args.configs) != len(args.ensemble):
        parser.error(f"--ensemble-configs: {len(args.configs)} configs for {len(args.ensemble)} --ensemble checkpoints")
    args.configs = args.configs or [args.config_file] * len(args.ensemble)
    register_own(args.datasets)
    weights, output = checkpoint_and_output(args)
    if is_lazy(args.config_file):
        args.opts = [*args.opts, override(LAZY_KEYS[0], weights), override(LAZY_KEYS[1], output)]
    else:
        args.opts = [*args.opts, KEYS[0], weights, KEYS[1], output]
    args.eval_only, args.resume = True, False
    return args


def command(argv: list[str] | None = None) -> None:
    with reporting("eval_coco.py", "--debug" in (sys.argv[1:] if argv is None else argv)):
        args = parse_args(argv)
    run(main, "eval_coco.py", args)
