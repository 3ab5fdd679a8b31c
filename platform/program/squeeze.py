"""A one-file program to a smaller one that does the same; and, where asked for, to one that unpacks itself.

Left out are comments, blank lines, docstrings but the file's own, annotations that nothing reads while the program
runs, and definitions, imports and constants of dataclasses that nothing uses. Short statements share a line. No name
and no value is changed. Fields keep their annotations, for a dataclass is made of them. The result is its own squeezed
form.

The layout is that of ``ast.unparse``, which another version of Python may change: what was squeezed once is kept as a
file, and that file is what runs, is hashed, counted and shipped.
"""

import ast
import base64
import lzma
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..errors import UserError

LINE_LENGTH = 120

# Decorators under which nothing reads a function's annotations; that of a kernel, for one, may.
BLIND_DECORATORS = {
    *("property", "staticmethod", "classmethod", "contextmanager", "lru_cache", "cache", "cached_property"),
    *("abstractmethod", "override", "torch.no_grad", "torch.inference_mode"),
}
BLIND_BASES = {"nn.Module", "object"}  # the same for the annotations in the body of a class
HARMLESS_DECORATORS = BLIND_DECORATORS | {"dataclass", "runtime_checkable"}  # they register nothing anywhere
READ_ANNOTATIONS = {"__annotations__", "get_type_hints", "signature", "get_annotations", "getfullargspec"}
BLOCKS = {
    *("if", "elif", "else", "for", "while", "try", "except", "except*", "finally", "with", "match", "case"),
    *("def", "class", "async"),
}

PACKED_START = 'import base64, lzma\nexec(compile(lzma.decompress(base64.b85decode("'
PACKED_END = '")), __file__, "exec"))\n'

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Import = ast.Import | ast.ImportFrom


class Form(StrEnum):
    """How the one file is written. In each form it is the same file that runs, is hashed, counted and shipped."""

    READABLE = "readable"
    SQUEEZED = "squeezed"
    PACKED = "packed"

    def of(self, program: str) -> str:
        """The readable ``program`` in this form."""
        if self is Form.READABLE:
            return program
        return squeeze(program) if self is Form.SQUEEZED else pack(squeeze(program))


def squeeze(program: str) -> str:
    """The smaller program.

    Raises:
        UserError: ``program`` is not Python.
    """
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"what is to be squeezed is not Python: {error}") from None
    words = {getattr(node, "attr", None) or getattr(node, "id", "") for node in ast.walk(tree)}
    stripper = _Stripper(
        docstrings="__doc__" in words, annotations=not words.isdisjoint(READ_ANNOTATIONS), read=_read_by_name(tree)
    )
    tree = stripper.visit(tree)
    tree.body = _needed(tree.body)
    squeezed = "".join(f"{line}\n" for line in _laid_out(tree.body))
    assert ast.dump(ast.parse(squeezed)) == ast.dump(tree), "laying a program out has changed it"
    return squeezed


def pack(program: str) -> str:
    """``program`` as one that unpacks and runs itself, in two lines; the same bytes for the same text.

    It runs as the file that it is in: ``__file__`` and ``__name__`` are those of the packed file.
    """
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 20}]
    packed = base64.b85encode(lzma.compress(program.encode(), format=lzma.FORMAT_ALONE, filters=filters)).decode()
    return f"{PACKED_START}{packed}{PACKED_END}"


def unpacked(program: str) -> str:
    """What is inside a program that ``pack`` made; ``program`` itself where it is no such."""
    if not (program.startswith(PACKED_START) and program.endswith(PACKED_END)):
        return program
    return lzma.decompress(base64.b85decode(program[len(PACKED_START) : -len(PACKED_END)])).decode()


def is_made_of(program: str, readable: str) -> bool:
    """Whether ``program`` is a smaller form of ``readable``, by whichever version of Python it was laid out."""
    return ast.dump(ast.parse(unpacked(program))) == ast.dump(ast.parse(squeeze(readable)))


class _Stripper(ast.NodeTransformer):
    """Takes docstrings, annotations and unread constants of dataclasses out of a tree.

    ``docstrings``, ``annotations``: these are read, and stay; ``read``: constants of these names are.
    """

    def __init__(self, *, docstrings: bool, annotations: bool, read: set[str]) -> None:
        self._docstrings, self._annotations, self._read = docstrings, annotations, read
        self._owners: list[ast.Module | Definition] = []

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._inside(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if "dataclass" in map(_called, node.decorator_list):
            node.body = [statement for statement in node.body if not self._is_unread(statement)] or [ast.Pass()]
        return self._inside(node)

    def visit_FunctionDef(self, node: Function) -> ast.AST:
        if not self._annotations and all(_called(decorator) in BLIND_DECORATORS for decorator in node.decorator_list):
            node.returns = None
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
        return self._inside(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        owner = self._owners[-1]
        if self._annotations or (isinstance(owner, ast.ClassDef) and not _is_blind(owner)):
            return node
        if node.value is not None:
            return ast.Assign(targets=[node.target], value=self.visit(node.value))
        # A bare ``x: int`` makes x local to a function, as an assignment anywhere in it does.
        name = node.target.id if isinstance(node.target, ast.Name) and isinstance(owner, Function) else None
        return ast.Pass() if name is None or name in _assigned(owner) else node

    def _inside(self, node: ast.Module | Definition) -> ast.AST:
        title = node.body[:1] if isinstance(node, ast.Module) and ast.get_docstring(node) is not None else []
        self._owners.append(node)
        self.generic_visit(node)
        self._owners.pop()
        rest = [
            statement
            for statement in node.body[len(title) :]
            if not (self._says_nothing(statement) or isinstance(statement, ast.Pass))
        ]
        node.body = title + rest or [ast.Pass()]
        return node

    def _is_unread(self, node: ast.stmt) -> bool:
        """Whether it is a constant of a class, such as the sizes at other scales, that nothing asks for."""
        if not (isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)):
            return False
        is_literal = not any(isinstance(part, ast.Call | ast.Name) for part in ast.walk(node.value))
        return is_literal and not any(name in self._read or name.startswith("__") for name in _assigned(node))

    def _says_nothing(self, node: ast.stmt) -> bool:
        """Whether it is a docstring, or the text that a module's docstring becomes in the one file."""
        return not self._docstrings and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _read_by_name(tree: ast.AST) -> set[str]:
    """What may be read of an object: attributes, texts that may name one, and the names of bodies of classes."""
    read = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    read |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in (part for part in ast.walk(tree) if isinstance(part, ast.ClassDef)):
        read |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
    return read


def _is_blind(node: ast.ClassDef) -> bool:
    """Whether nothing reads the annotations in the body of this class."""
    return not node.decorator_list and not node.keywords and {ast.unparse(base) for base in node.bases} <= BLIND_BASES


def _assigned(node: ast.AST) -> set[str]:
    targets = {id(part.target) for part in ast.walk(node) if isinstance(part, ast.AnnAssign) and part.value is None}
    names = (part for part in ast.walk(node) if isinstance(part, ast.Name) and id(part) not in targets)
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


# --- what nothing uses ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Statement:
    """A statement of the top level: the names that it makes, those that it uses, and whether it does nothing else."""

    node: ast.stmt
    makes: set[str]
    uses: set[str]
    only_makes: bool


def _needed(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """``body`` without the definitions, constants and imports that nothing else uses."""
    protocols = {
        statement.name
        for statement in body
        if isinstance(statement, ast.ClassDef) and "Protocol" in map(ast.unparse, statement.bases)
    }
    apart = [statement for node in body for statement in (_names_apart(node) if isinstance(node, Import) else [node])]
    statements = [_statement(node, protocols) for node in apart]
    needed: set[_Statement] = set()
    ahead = [statement for statement in statements if not statement.only_makes]
    while ahead:
        if (statement := ahead.pop()) not in needed:
            needed.add(statement)
            ahead += [other for other in statements if other.makes & statement.uses]
    packages = {_package(statement.node) for statement in needed}
    for statement in statements:  # what another package does when it is imported, it goes on doing
        if isinstance(statement.node, Import) and _package(statement.node) not in packages | sys.stdlib_module_names:
            needed.add(statement)
    there = set().union(*(statement.makes for statement in needed))
    for statement in statements:
        for field in _fields(statement.node):
            if _names(field.annotation) & protocols - there:
                field.annotation = ast.Name(id="object", ctx=ast.Load())
    return _names_together([statement.node for statement in statements if statement in needed])


def _statement(node: ast.stmt, protocols: set[str]) -> _Statement:
    if isinstance(node, Import):
        return _Statement(node, {(alias.asname or alias.name).partition(".")[0] for alias in node.names}, set(), True)
    types = set().union(*(_names(field.annotation) & protocols for field in _fields(node)))
    for_types = {id(part) for field in _fields(node) for part in ast.walk(field.annotation)}
    uses = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and id(part) not in for_types}
    uses |= {name for field in _fields(node) for name in _names(field.annotation)} - types
    if isinstance(node, Definition):
        harmless = all(_called(decorator) in HARMLESS_DECORATORS for decorator in node.decorator_list)
        return _Statement(node, {node.name}, uses, harmless)
    plain = isinstance(node, ast.Assign) and not any(isinstance(part, ast.Call) for part in ast.walk(node.value))
    return _Statement(node, _assigned(node), uses, plain)


def _fields(node: ast.AST) -> list[ast.AnnAssign]:
    """The fields of a dataclass; none where ``node`` is something else."""
    is_one = isinstance(node, ast.ClassDef) and "dataclass" in map(_called, node.decorator_list)
    return [field for field in node.body if isinstance(field, ast.AnnAssign)] if is_one else []  # type: ignore[attr-defined]


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _package(node: ast.stmt) -> str | None:
    name = node.names[0].name if isinstance(node, ast.Import) else getattr(node, "module", None)
    return name.partition(".")[0] if name else None


def _names_apart(node: Import) -> list[ast.stmt]:
    if isinstance(node, ast.Import):
        return [ast.Import(names=[alias]) for alias in node.names]
    return [ast.ImportFrom(module=node.module, names=[alias], level=node.level) for alias in node.names]


def _names_together(nodes: Sequence[ast.stmt]) -> list[ast.stmt]:
    together: list[ast.stmt] = []
    for node in nodes:
        last = together[-1] if together else None
        if isinstance(node, ast.ImportFrom) and isinstance(last, ast.ImportFrom) and node.module == last.module:
            last.names += node.names
        else:
            together.append(node)
    return together


def _called(decorator: ast.expr) -> str:
    """``dataclass`` of ``dataclass(frozen=True)``."""
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)


# --- how the rest is laid out -----------------------------------------------------------------------------------------


def _laid_out(body: Sequence[ast.stmt]) -> list[str]:
    """The lines of a file; imports and constants that follow each other share them."""
    lines: list[str] = []
    open_line = False  # whether the last line may take another statement
    for node in body:
        of_node = list(_lines(ast.fix_missing_locations(node)))
        short = len(of_node) == 1 and isinstance(node, Import | ast.Assign)
        if short and open_line and len(lines[-1]) + 2 + len(of_node[0]) <= LINE_LENGTH:
            lines[-1] += f"; {of_node[0]}"
        else:
            lines += of_node
        open_line = short
    return lines


def _lines(node: ast.stmt) -> Iterator[str]:
    text = ast.unparse(ast.Module(body=[node], type_ignores=[]))  # as a module: a docstring keeps its lines
    if isinstance(node, ast.Expr):
        yield text
        return
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and len(text) > LINE_LENGTH:
        head = ast.Assign(targets=node.targets, value=node.value.func)
        yield f"{ast.unparse(ast.fix_missing_locations(head))}("
        yield from (f"    {ast.unparse(argument)}," for argument in (*node.value.args, *node.value.keywords))
        yield ")"
        return
    joined = _joined([line for line in text.split("\n") if line.strip()])
    try:
        same = ast.dump(ast.parse("\n".join(joined))) == ast.dump(ast.parse(text))
    except SyntaxError:
        same = False
    yield from joined if same else text.split("\n")  # not the same: a text of several lines was in it


def _joined(lines: list[str]) -> list[str]:
    """Short statements that follow each other on one line, and a body of one line behind its colon."""
    for at in reversed(range(len(lines) - 1)):
        head, body = lines[at], lines[at + 1].lstrip()
        indent, inside = (len(line) - len(line.lstrip()) for line in (head, lines[at + 1]))
        alone = at + 2 == len(lines) or len(lines[at + 2]) - len(lines[at + 2].lstrip()) < inside
        if _opens_block(body) or len(head) + 2 + len(body) > LINE_LENGTH:
            continue
        if indent == inside and not _opens_block(head):
            lines[at : at + 2] = [f"{head}; {body}"]
        elif indent < inside and alone:
            lines[at : at + 2] = [f"{head} {body}"]
    return lines


def _opens_block(line: str) -> bool:
    return line.lstrip().startswith("@") or line.replace(":", " ").split(maxsplit=1)[0] in BLOCKS
