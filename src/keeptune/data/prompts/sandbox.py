"""Jinja for templates that come from strangers: no attribute tricks, no endless loops, no exploding text.

On top of jinja2's immutable sandbox: the steps of all loops of one rendering, its computing time and the length of
every text are limited, macros, recursive loops and includes are refused, methods are called on texts, lists and
objects only, and filters that draw at random or blow text up are gone (a template must print the same text whenever
it is rendered).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from datetime import time as time_of_day
from numbers import Number
from typing import Any, cast

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from keeptune.core.units import content_hash

MAX_CHARACTERS = 2_000_000  # of one rendered text, and of every value on the way
MAX_STEPS = 100_000  # of all loops of one rendering together
MAX_SECONDS = 5.0  # of computing, for one rendering; a row takes milliseconds
STATE = "the rendering"  # the context variable that holds a Rendering; no template can write such a name

_REMOVED_FILTERS = (
    *("random", "center", "indent", "format", "urlize", "xmlattr", "pprint", "wordwrap", "filesizeformat"),
    *("batch", "slice", "sum"),
)
_REFUSED_NODES: tuple[tuple[type[nodes.Node], str], ...] = (
    (nodes.Macro, "macros"),
    (nodes.CallBlock, "call blocks"),
    (nodes.Include, "includes"),
    (nodes.Import, "imports"),
    (nodes.FromImport, "imports"),
    (nodes.Extends, "inheritance"),
    (nodes.Block, "blocks"),
)
# fmt: off
_TEXT_METHODS = frozenset({
        "strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "swapcase", "casefold", "split",
        "rsplit", "splitlines", "partition", "rpartition", "startswith", "endswith", "find", "rfind", "index",
        "rindex", "count", "replace", "join", "removeprefix", "removesuffix", "isdigit", "isalpha", "isalnum",
        "isupper", "islower", "isspace", "istitle", "isnumeric", "isdecimal", "isascii",
})
# fmt: on
_PLAIN = (str, Number, date, time_of_day, timedelta, Undefined)  # what can be printed; Undefined says what is missing
_WITH_METHODS = (Mapping, list, tuple, LoopContext, type)


@dataclass
class Rendering:
    """What one rendering has used up, and which element of a printed list it prints."""

    pick: int = 0
    steps: int = 0
    lengths: set[int] = field(default_factory=set)  # of the lists of texts that were printed
    started: float = field(default_factory=time.thread_time)  # computing time, so that a busy machine does no harm

    def check_time(self) -> None:
        """Nothing, as long as there is time left.

        Raises:
            SecurityError: there is none.
        """
        if time.thread_time() - self.started > MAX_SECONDS:
            raise SecurityError(f"the template computes for more than {MAX_SECONDS:.0f} seconds")


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """The environment that all templates of data are rendered in."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_finalize)
        for name in _REMOVED_FILTERS:
            self.filters.pop(name, None)
        self.filters.update(
            tojson=_to_json,
            choice=_choice,
            join=_join,
            replace=_replace,
            keeptune_steps=_counted,
            keeptune_small=_small,
        )
        for name in ("map", "select", "reject", "selectattr", "rejectattr"):
            self.filters[name] = _limited(self.filters[name])
        self.globals = {
            "range": self.globals["range"],
            "dict": dict,
            "zip": _zipped,
            "namespace": self.globals["namespace"],
        }

    def guarded(self, source: str) -> nodes.Template:
        """Parse and put a guard around every loop and every joined text.

        Raises:
            SecurityError: the source uses a construct that could run without end.
            jinja2.TemplateSyntaxError: the source is no template.
        """
        tree = self.parse(source)
        for kind, words in _REFUSED_NODES:
            if tree.find(kind) is not None:
                raise SecurityError(f"{words} are not available in templates")
        for loop in tree.find_all(nodes.For):
            if loop.recursive:
                raise SecurityError("recursive loops are not available in templates")
            loop.iter = _through(loop.iter, "keeptune_steps")
        return _GuardValues().visit(tree)  # type: ignore[no-any-return]

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic whose result stays small."""
        if operator == "%" and isinstance(left, str):
            raise SecurityError("'%' formatting is not available in templates; put the value in {{ }}")
        if operator == "*" and not _small_product(left, right):
            raise SecurityError("a product in the template is too large")
        if operator == "**" and not (abs(right) <= 64 and abs(left) <= 1_000_000):
            raise SecurityError("a power in the template is too large")
        return _small(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call; methods of texts only from a list, and only where the result stays small."""
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)  # jinja2 wraps str.format
        if isinstance(owner, str):
            if __obj.__name__ not in _TEXT_METHODS:
                raise SecurityError(f"the text method '{__obj.__name__}' is not available in templates")
            if __obj.__name__ == "replace":
                return _replace(owner, *args, **kwargs)
            if __obj.__name__ == "join":
                return _join(args[0], owner)
        elif owner is not None and not isinstance(owner, _WITH_METHODS):  # (1).to_bytes(10 ** 10) fills the memory
            raise SecurityError(f"methods of {type(owner).__name__} are not available in templates")
        return _small(super().call(__context, __obj, *args, **kwargs))


class _GuardValues(NodeTransformer):
    """Puts every ``a ~ b``, list, dict and set block through the size check: what doubles must not fill the memory."""

    def _guard(self, node: nodes.Expr) -> nodes.Expr:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") == "store" else _through(node, "keeptune_small")

    visit_Concat = visit_List = visit_Tuple = visit_Dict = _guard

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.AssignBlock:
        self.generic_visit(node)
        node.filter = nodes.Filter(node.filter, "keeptune_small", [], [], None, None, lineno=node.lineno)
        return node


def _through(node: nodes.Node, name: str) -> nodes.Filter:
    """``node``, an expression, passed through a filter."""
    return nodes.Filter(cast(nodes.Expr, node), name, [], [], None, None, lineno=node.lineno)


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    """What ``{{ value }}`` prints: a list of texts stands for several references and prints one of them."""
    if value is None:
        raise SecurityError("a printed value is null")
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) for item in value):
        state: Rendering = context[STATE]
        state.lengths.add(len(value))
        return value[min(state.pick, len(value) - 1)]
    if isinstance(value, (list, tuple, dict)):
        raise SecurityError("a list or an object is printed as it is; use the filter 'join' or 'tojson'")
    if not isinstance(value, _PLAIN):  # a method without its (), map without join: Python's name for it, no text
        raise SecurityError(f"a printed value is no text but a {type(value).__name__}; call it, or use 'join'")
    return value


@pass_context
def _counted(context: Context, values: Any) -> Iterator[Any]:
    state: Rendering = context[STATE]
    for value in values:
        state.steps += 1
        if state.steps > MAX_STEPS:
            raise SecurityError(f"the loops of the template take more than {MAX_STEPS:,} steps")
        state.check_time()
        yield value


def _limited(filter_: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    """A filter that passes on one value after another, all of them together small and in time."""

    @pass_context
    def limited(context: Context, values: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        state: Rendering = context[STATE]
        size = 0
        for value in filter_(context, values, *args, **kwargs):
            state.check_time()
            size += len(value) if isinstance(value, str) else 1
            if size > MAX_CHARACTERS:
                raise SecurityError(f"the values of a filter grow beyond {MAX_CHARACTERS:,} characters")
            yield value

    return limited


def _small(value: Any) -> Any:
    """``value``, if it and everything in it is at most MAX_CHARACTERS long together."""
    size, open_values = 0, [value]
    while open_values:
        current = open_values.pop()
        size += len(current) if isinstance(current, str) else 1
        if isinstance(current, (list, tuple)):
            open_values.extend(current)
        elif isinstance(current, dict):
            open_values.extend(current.values())
        if size + len(open_values) > MAX_CHARACTERS:
            raise SecurityError(f"a value in the template grows beyond {MAX_CHARACTERS:,} characters")
    return value


def _zipped(*values: Any) -> list[tuple[Any, ...]]:
    """Python's zip as a list, whose size can be checked: pairs of pairs of pairs are few, and endless when printed."""
    return list(zip(*values, strict=False))


def _small_product(left: Any, right: Any) -> bool:
    for text, count in ((left, right), (right, left)):
        if isinstance(text, (str, list, tuple)):
            return len(text) * int(count) <= MAX_CHARACTERS
    return bool(abs(left) <= 2**64 and abs(right) <= 2**64)


def _choice(values: Sequence[Any]) -> Any:
    """promptsource's random choice, drawn from the values themselves: a template prints the same text every time."""
    return values[int(content_hash([str(value) for value in values]), 16) % len(values)]


def _join(values: Any, separator: str = "", attribute: str | None = None) -> str:
    pieces = []
    length = 0
    for value in values:
        piece = str(value if attribute is None else value[attribute])
        length += len(piece) + len(separator)
        if length > MAX_CHARACTERS:
            raise SecurityError(f"a joined text grows beyond {MAX_CHARACTERS:,} characters")
        pieces.append(piece)
    return separator.join(pieces)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    if len(text) + text.count(old) * len(new) > MAX_CHARACTERS:
        raise SecurityError(f"a replaced text grows beyond {MAX_CHARACTERS:,} characters")
    return text.replace(old, new, count)


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as a model should read it: no HTML escapes, letters as they are."""
    return json.dumps(_small(value), ensure_ascii=False, indent=min(indent, 8) if indent else None)
