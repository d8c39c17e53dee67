"""detectron2's yaml configs as data: tags that stand for plain values are read, whatever else would run is refused.

detectron2 reads ``!!python`` tags with ``yaml.unsafe_load``. Its own ``retinanet_R_50_FPN_1x.yaml`` computes anchors in
one: ``!!python/object/apply:eval ["[[x, x * 2**(1.0/3)] for x in [32, 64]]"]``.
"""

import ast
import operator
from collections.abc import Mapping
from typing import Any

import yaml

TAG = "tag:yaml.org,2002:python/"
OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}  # fmt: skip
LARGEST, LARGEST_POWER = 1e9, 64  # "9**9**9" would take all memory
MOST_STEPS = 100_000


class PlainLoader(yaml.SafeLoader):
    """yaml's safe loader, and tuples, the plain Python types, and :func:`calculated` in the place of ``eval``."""


def _tuple(loader: PlainLoader, node: yaml.Node) -> tuple:
    return tuple(loader.construct_sequence(node, deep=True))


def _eval(loader: PlainLoader, node: yaml.Node) -> Any:
    arguments = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else None
    if not arguments or len(arguments) != 1 or not isinstance(arguments[0], str):
        raise yaml.constructor.ConstructorError(None, None, "eval takes one text here", node.start_mark)
    try:
        return calculated(arguments[0])
    except ValueError as error:
        raise yaml.constructor.ConstructorError(None, None, f"{node.tag}: {error}", node.start_mark) from error


PlainLoader.add_constructor(f"{TAG}tuple", _tuple)
PlainLoader.add_constructor(f"{TAG}object/apply:eval", _eval)
for name in ("none:null", "bool:bool", "int:int", "float:float", "str:str", "list:seq", "dict:map"):
    tag, _, plain = name.partition(":")
    PlainLoader.add_constructor(f"{TAG}{tag}", yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{plain}"])


def load_plain(file: Any) -> Any:
    """The content of a yaml file or text.

    Raises:
        yaml.constructor.ConstructorError: a tag stands for something else than a plain value.
    """
    loader = PlainLoader(file)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def calculated(text: str) -> Any:
    """The value of an expression of numbers, texts, lists, tuples, + - * / // % ** and list comprehensions.

    Nothing of Python is called: the expression is walked here.

    Raises:
        ValueError: there is something else in it, or it grows beyond all measure.
    """
    try:
        return _Calculator().value(ast.parse(text.strip(), mode="eval").body, {})
    except (SyntaxError, ArithmeticError, TypeError, RecursionError) as error:
        raise ValueError(f"{text!r} cannot be calculated ({type(error).__name__}: {error})") from error


class _Calculator:
    def __init__(self):
        self.steps = 0

    def value(self, node: ast.expr, names: Mapping[str, Any]) -> Any:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise ValueError(f"more than {MOST_STEPS:,} steps")
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
            return node.value
        if isinstance(node, ast.Name) and node.id in names:
            return names[node.id]
        if isinstance(node, ast.List | ast.Tuple):
            kind = list if isinstance(node, ast.List) else tuple
            return kind(self.value(each, names) for each in node.elts)
        if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](self.number(node.operand, names))
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            left, right = self.number(node.left, names), self.number(node.right, names)
            if isinstance(node.op, ast.Pow) and abs(right) > LARGEST_POWER:
                raise ValueError(f"the exponent {right} is too large")
            return _bounded(OPERATORS[type(node.op)](left, right))
        if isinstance(node, ast.ListComp) and len(node.generators) == 1:
            (loop,) = node.generators
            elements = self.value(loop.iter, names)
            if isinstance(loop.target, ast.Name) and not loop.ifs and isinstance(elements, list | tuple):
                return [self.value(node.elt, {**names, loop.target.id: each}) for each in elements]
        raise ValueError(f"{ast.unparse(node)!r} is no number, text, list or arithmetic of them")

    def number(self, node: ast.expr, names: Mapping[str, Any]) -> int | float:
        value = self.value(node, names)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{ast.unparse(node)!r} is no number")
        return value


def _bounded(value: Any) -> int | float:
    if isinstance(value, complex) or abs(value) > LARGEST:
        raise ValueError(f"a number is larger than {LARGEST:g}")
    return value
