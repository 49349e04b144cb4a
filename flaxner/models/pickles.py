"""Decodes pickles of tensors as data: nothing that they name is ever imported or called.

A pickle is a list of instructions for a stack machine, two of which import and call what the file
names. Here the instructions are decoded by `pickletools`, names stay names, and only the calls that
make up a table of weights are understood, as descriptions of tensors; any other is refused.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

# Without limits, a few bytes of a pickle can ask for far more memory or time than they take.
# A table of 10,000 tensors has one or two million bytes, and names of about a hundred characters.
TABLE_LIMIT = 1 << 23
NAME_LIMIT = 300
DIMENSIONS_LIMIT = 64  # as in NumPy
DTYPES: Mapping[str, Any] = {
    "torch.FloatStorage": np.float32,
    "torch.HalfStorage": np.float16,
    "torch.BFloat16Storage": ml_dtypes.bfloat16,
    "torch.DoubleStorage": np.float64,
    "torch.LongStorage": np.int64,
    "torch.IntStorage": np.int32,
    "torch.ShortStorage": np.int16,
    "torch.CharStorage": np.int8,
    "torch.ByteStorage": np.uint8,
    "torch.BoolStorage": np.bool_,
}


class Name(str):
    """Something that a pickle would import, such as `torch.FloatStorage`."""


class Storage(NamedTuple):
    """A flat array in the file: its key, dtype and number of elements."""

    key: str
    dtype: np.dtype[Any]
    size: int

    def array(self, data: bytes) -> np.ndarray:
        """Return the flat array, in the machine's byte order, given its bytes.

        Raises:
          ValueError: there are more or fewer bytes.
        """
        if len(data) != self.size * self.dtype.itemsize:
            raise ValueError(f"its storage {self.key} does not have {self.size:,} elements")
        return np.frombuffer(data, self.dtype).astype(self.dtype.newbyteorder("="), copy=False)


class Tensor(NamedTuple):
    """A view of a storage: number of its first element, shape, and steps between elements."""

    storage: Storage
    first: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]

    def of(self, flat: np.ndarray) -> np.ndarray:
        """Return the view, which takes no memory of its own, given the storage's array.

        Raises:
          ValueError: the view reaches beyond its storage.
        """
        _, first, shape, steps = self
        if math.prod(shape) == 0:
            return np.zeros(shape, flat.dtype)
        last = first + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        if last >= flat.size or math.prod(shape) > flat.size:
            raise ValueError("a tensor reaches beyond its storage, or repeats parts of it")
        strides = [step * flat.itemsize for step in steps]
        return np.lib.stride_tricks.as_strided(flat[first:], shape, strides, writeable=False)


def decoded(file: IO[bytes], *, big_endian: bool = False) -> Any:
    """Return the value that the next pickle of a file describes, made of plain Python objects.

    Args:
      file: it is left at the end of the pickle.
      big_endian: order of the bytes in the storages that the pickle describes.

    Raises:
      ValueError: it needs more than what `torch.save` writes for a table of tensors. A damaged
        pickle may also raise KeyError, IndexError, TypeError, AttributeError or EOFError.
    """
    machine = Machine(big_endian)
    for instruction, argument, place in pickletools.genops(file):
        name = instruction.name
        if (place or 0) > TABLE_LIMIT:
            raise ValueError("its table is too large")
        if name == "STOP":
            break
        if name in VALUES:
            machine.stack.append(argument)
        elif name in CONSTANTS:
            machine.stack.append(CONSTANTS[name]())
        elif name in MOVES:
            MOVES[name](machine, argument)
        elif name not in IGNORED:
            raise ValueError(f"it has an instruction {name}, which weights do not need")
    return machine.stack.pop()


class Machine:
    """What the instructions work on."""

    def __init__(self, big_endian: bool) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self._order = ">" if big_endian else "<"

    def take(self, count: int | None = None) -> list[Any]:
        """Take items off the stack, by default all above the last mark."""
        place = self.marks.pop() if count is None else len(self.stack) - count
        if not 0 <= place <= len(self.stack):
            raise ValueError("its stack is empty")
        items = self.stack[place:]
        del self.stack[place:]
        return items

    def put(self, items: list[Any]) -> None:
        """Add keys and values, in turn, to the dict on top of the stack."""
        self._top(dict).update(_table(zip(items[::2], items[1::2], strict=True)))

    def make_table(self) -> None:
        """Replace keys and values above the last mark by a dict."""
        items = self.take()
        self.stack.append({})
        self.put(items)

    def extend(self, items: list[Any]) -> None:
        """Add items to the list on top of the stack."""
        self._top(list).extend(items)

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"it adds items to something else than a {kind.__name__}")
        return self.stack[-1]

    def storage(self) -> None:
        """Replace the description of a storage, ("storage", type, key, device, size, ...)."""
        match self.stack.pop():
            case ("storage", str(kind), str(key), _device, int(size), *view) if not any(view):
                if kind not in DTYPES:
                    raise ValueError(f"it has weights of the kind {kind}")
                if not _is_number(size):
                    raise ValueError(f"its storage {key} has no valid size")
                dtype = np.dtype(DTYPES[kind]).newbyteorder(self._order)
                self.stack.append(Storage(key, dtype, size))
            case _:
                raise ValueError("it has more than arrays, such as a whole module")

    def call(self) -> None:
        """Replace a function's name and arguments by what it would return."""
        function, arguments = self.take(2)
        if not isinstance(function, Name):
            raise ValueError("it would call something that has no name")
        if function not in CALLS:
            raise ValueError(f"it would call {function}, which weights do not need")
        self.stack.append(CALLS[function](*arguments))


def _table(pairs: Iterable[tuple[Any, Any]] = ()) -> dict[str, Any]:
    table = list(pairs)
    if not all(isinstance(key, str) for key, _ in table):  # to hash a deep tuple can crash Python
        raise ValueError("it has names that are no text")
    if any(len(key) > NAME_LIMIT for key, _ in table):
        raise ValueError(f"it has names of more than {NAME_LIMIT} characters")
    return dict(table)


def _ordered(pairs: Any = None) -> dict[str, Any]:
    """Make a table of a list of pairs and empty the list, lest many tables be made of one."""
    if not isinstance(pairs, list | None):
        raise ValueError("it makes a table of something else than a list")
    table = _table(pairs or ())
    if pairs:
        pairs.clear()
    return table


def _tensor(storage: Any, first: Any, shape: Any, steps: Any, *more: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    if any(more[2:]):  # after requires_grad and hooks: such as that all numbers are negated
        raise ValueError("a tensor has more than its numbers")
    tuples = isinstance(shape, tuple) and isinstance(steps, tuple)
    if not tuples or not len(shape) == len(steps) <= DIMENSIONS_LIMIT:
        raise ValueError("a tensor has no valid shape")
    if not all(map(_is_number, (first, *shape, *steps))):
        raise ValueError("a tensor has no valid shape")
    return Tensor(storage, first, shape, steps)


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _name(module: Any, name: Any) -> Name:
    if type(module) is not str or type(name) is not str:  # names of names could double in length
        raise ValueError("it names something by other than text")
    if len(module) + len(name) > NAME_LIMIT:
        raise ValueError(f"it has names of more than {NAME_LIMIT} characters")
    return Name(f"{module}.{name}")


CALLS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
}
IGNORED = ("PROTO", "FRAME")
VALUES = (
    *("INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
)
CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
MOVES: Mapping[str, Callable[[Machine, Any], Any]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "GLOBAL": lambda m, name: m.stack.append(Name(name.replace(" ", "."))),
    "STACK_GLOBAL": lambda m, _: m.stack.append(_name(*m.take(2))),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.take())),
    "TUPLE1": lambda m, _: m.stack.append(tuple(m.take(1))),
    "TUPLE2": lambda m, _: m.stack.append(tuple(m.take(2))),
    "TUPLE3": lambda m, _: m.stack.append(tuple(m.take(3))),
    "LIST": lambda m, _: m.stack.append(m.take()),
    "DICT": lambda m, _: m.make_table(),
    "SETITEM": lambda m, _: m.put(m.take(2)),
    "SETITEMS": lambda m, _: m.put(m.take()),
    "APPEND": lambda m, _: m.extend(m.take(1)),
    "APPENDS": lambda m, _: m.extend(m.take()),
    "PUT": lambda m, place: m.memo.update({int(place): m.stack[-1]}),
    "BINPUT": lambda m, place: m.memo.update({place: m.stack[-1]}),
    "LONG_BINPUT": lambda m, place: m.memo.update({place: m.stack[-1]}),
    "MEMOIZE": lambda m, _: m.memo.update({len(m.memo): m.stack[-1]}),
    "GET": lambda m, place: m.stack.append(m.memo[int(place)]),
    "BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "LONG_BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "BINPERSID": lambda m, _: m.storage(),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.take(1),  # attributes of the table: versions of its modules
}
