"""Interprets pickles as data: containers, text and numbers are built, and of what a pickle calls only what is admitted.

`pickle.load` calls whatever a file names, and leaves the work to the file: a key of 40 levels, each a tuple that holds
the one below twice, takes 250 bytes and is hashed in 2^40 steps. Here every instruction takes the time of its own
bytes, keys are plain, and what is made of the same bytes again and again is counted.
"""

import codecs
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

STEPS = 50_000_000  # instructions: of features as lists, a number each
CONTAINERS = 2_000_000
COPIES = 8  # how often the bytes of a file are used again, each in a nested stream or as text that was bytes
HASHED_AS_THEY_ARE = 1 << 60  # integers beyond can have one hash, as many as there are
PUSHED = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
MAKING = {"EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "LIST", "DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
READERS: dict[bytes, tuple[str, Any]] = {
    op.code.encode("latin-1"): (op.name, op.arg and op.arg.reader) for op in pickletools.opcodes
}


class Refused(ValueError):
    """The file asks for something that is not an array or a tensor, or for more work than it has bytes."""


@dataclass
class Budget:
    """What all streams of a file may take together."""

    bytes: int  # that are used again
    steps: int = STEPS
    containers: int = CONTAINERS
    skipping: bool = False  # objects that are known to be of no use, instead of refusing the file

    def copy(self, count: int) -> None:
        """Counts bytes that are used again. Raises Refused where there were too many of them."""
        self.bytes -= count
        if self.bytes < 0:
            raise Refused("it uses the same bytes again and again")

    def step(self) -> None:
        """Counts an instruction, likewise."""
        self.steps -= 1
        if self.steps < 0:
            raise Refused("it has too many instructions")

    def container(self) -> None:
        """Counts a list, tuple or dict, likewise."""
        self.containers -= 1
        if self.containers < 0:
            raise Refused("it has too many lists, tuples and dicts")


@dataclass(frozen=True)
class Function:
    """What an admitted name stands for, where a pickle may call it."""

    call: Callable[..., Any]
    makes_objects: bool = False  # a class, which is also asked for objects without being called


class Skipped:
    """Stands for an object that is of no use: what it is given or filled with is dropped."""


def run(
    file: BinaryIO,
    admitted: Mapping[str, Any],
    budget: Budget,
    persistent: Callable[[Any], Any] | None = None,
    build: Callable[[Any, Any], None] | None = None,
) -> Any:
    """Interprets the pickle at the place of a file, which is left behind its end.

    Args:
      file: a file in memory: what is read from it is no longer than it.
      admitted: what names of modules stand for, `Function` where they may be called.
      budget: what is left of the work, which is counted.
      persistent: returns what a persistent id stands for.
      build: called with an object of an admitted function and its state.

    Raises:
      Refused: the pickle wants a name that is not admitted, an unusual instruction, or too much work.
      ValueError, IndexError, KeyError, TypeError: it is damaged.
    """
    return _Machine(file, admitted, budget, persistent, build).run()


class _Machine:
    def __init__(self, file: BinaryIO, admitted: Mapping[str, Any], budget: Budget, persistent: Any, build: Any):
        self.file, self.admitted, self.budget, self.persistent, self.build = file, admitted, budget, persistent, build
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks beneath marks
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        read = self.file.read
        while True:
            try:
                name, reader = READERS[read(1)]
            except KeyError:
                raise ValueError("it ends too early, or has an unknown instruction") from None
            self.budget.step()
            if name == "STRING":
                self.stack.append(_string(self.file.readline()))
            elif name in PUSHED:
                assert reader is not None
                self.stack.append(reader(self.file))
            elif name == "STOP":
                return self.stack.pop()
            else:
                self.other(name, reader(self.file) if reader else None)

    def other(self, name: str, argument: Any) -> None:
        """Any instruction but those that put a plain value on the stack."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(CONSTANTS[name])
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                if argument > STEPS:
                    raise Refused("its memo has more places than there are instructions")
                self.memo[int(argument)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[int(argument)])
            case "MARK":
                self.budget.container()
                self.outer.append(stack)
                self.stack = []
            case "POP":
                if stack:
                    stack.pop()
                else:
                    self.items()
            case "POP_MARK":
                self.items()
            case "DUP":
                stack.append(stack[-1])
            case "GLOBAL":
                stack.append(self.named(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                if type(module) is not str or type(attribute) is not str:
                    raise Refused("it names something that is no text")
                stack.append(self.named(f"{module}.{attribute}"))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                if not isinstance(function, Function) or type(arguments) is not tuple:
                    raise Refused(f"it calls {_kind(function)}")
                self.budget.container()
                stack.append(function.call(*arguments))
            case "NEWOBJ":
                stack.pop()
                function = stack.pop()
                if not isinstance(function, Function) or not function.makes_objects:
                    raise Refused(f"it makes an object of {_kind(function)}")
                self.budget.container()
                stack.append(function.call())
            case "BUILD":
                state = stack.pop()
                if type(stack[-1]) is not dict:  # PyTorch keeps versions as attributes of an OrderedDict
                    if self.build is None:
                        raise Refused(f"it sets the state of {_kind(stack[-1])}")
                    self.build(stack[-1], state)
            case "BINPERSID":
                if self.persistent is None:
                    raise Refused("it refers to objects outside the file")
                stack.append(self.persistent(stack.pop()))
            case _:
                self.container(name)

    def container(self, name: str) -> None:
        """Instructions that make or fill a list, tuple or dict."""
        if name in MAKING:
            self.budget.container()
        match name:
            case "EMPTY_LIST":
                self.stack.append([])
            case "EMPTY_DICT":
                self.stack.append({})
            case "EMPTY_TUPLE":
                self.stack.append(())
            case "LIST":
                items = self.items()
                self.stack.append(items)
            case "TUPLE":
                items = self.items()
                self.stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = TUPLES[name]
                if len(self.stack) < count:
                    raise ValueError("a tuple of fewer items than it has")
                self.stack[-count:] = [tuple(self.stack[-count:])]
            case "DICT":
                items = self.items()
                self.stack.append({})
                self.fill(items)
            case "APPEND":
                item = self.stack.pop()
                if type(self.stack[-1]) is not Skipped:
                    self.filled(list).append(item)
            case "APPENDS":
                items = self.items()
                if type(self.stack[-1]) is not Skipped:
                    self.filled(list).extend(items)
            case "SETITEM":
                items = [self.stack.pop(), self.stack.pop()]
                self.fill(items[::-1])
            case "SETITEMS":
                self.fill(self.items())
            case _:
                raise Refused(f"it uses the pickle instruction {name}")

    def items(self) -> list[Any]:
        """What lies above the last mark, which is taken off with it."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def filled(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise Refused(f"it fills {_kind(self.stack[-1])}")
        return self.stack[-1]

    def fill(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is Skipped:
            return
        filled = self.filled(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            kind = type(key)
            plain = kind in (str, bytes, float, bool, type(None))
            if not plain and not (kind is int and -HASHED_AS_THEY_ARE < key < HASHED_AS_THEY_ARE):
                raise Refused(f"a dict has a key of type {kind.__name__}, and not text or a number")
            filled[key] = value

    def named(self, name: str) -> Any:
        try:
            return self.admitted[name]
        except KeyError:
            raise Refused(f"the pickle wants {name[:200]!r:.80}") from None


def _string(line: bytes) -> str:
    """A text of Python 2, whose bytes stand for themselves."""
    text = line.rstrip(b"\n")
    if not line.endswith(b"\n") or len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
        raise ValueError("a text without quotes")
    return codecs.escape_decode(text[1:-1])[0].decode("latin-1")


def _kind(value: Any) -> str:
    return type(value).__name__.strip("_").lower()
