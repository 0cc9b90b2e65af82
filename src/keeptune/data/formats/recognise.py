"""Which columns are the prompt and which is the completion.

A layout is a list of roles; a role is found under any of its names (case and separators do not matter). Exactly
one layout must fit: where none or several do, the error lists the columns seen and says what to write.
The names are those of the tools people come from (TRL, axolotl, LLaMA-Factory, torchtune, ms-swift, LitGPT).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.units import few

COMPLETION = "completion"
MAP_COLUMNS = (  # what every command can do about columns of unknown names
    "map the columns: --field prompt=COLUMN --field completion=COLUMN"
    " (in a recipe or a task's file: fields: {prompt: COLUMN, completion: COLUMN})"
)

ANSWERS = ("output", "outputs", "response", "completion", "answer", "answers", "target", "targets", "generation")
LABELS = ("label_text", "label_name", "label", "labels", "category", "class", "sentiment", "intent", "emotion")
CLASSES = frozenset(("category", "class", "sentiment", "intent", "emotion"))  # labels that say of what kind they are
REPLIES = tuple(name for name in ANSWERS if name not in {"answer", "answers"})


@dataclass(frozen=True, slots=True)
class SchemaPattern:
    """A layout to look for: role -> column names, best first."""

    name: str
    required: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]]
    completion: tuple[str, ...]


# Earlier patterns win where two use the same columns.
PATTERNS: tuple[SchemaPattern, ...] = (
    SchemaPattern("prompt-completion", {"prompt": ("prompt",)}, {}, ("completion", "completions")),
    SchemaPattern(
        "instruction",
        {"instruction": ("instruction", "instructions")},
        {"input": ("input", "inputs", "context"), "system": ("system", "system_prompt")},
        ANSWERS,
    ),
    SchemaPattern(
        "instruction",
        {"instruction": ("prompt",), "input": ("input", "inputs", "context")},
        {"system": ("system", "system_prompt")},
        ANSWERS,
    ),
    SchemaPattern(
        "question",
        {"question": ("question", "query", "problem")},
        {
            "context": ("context", "passage", "paragraph"),
            "choices": ("choices", "options"),
            "system": ("system_prompt",),
        },
        (
            "answer",
            "answers",
            "answerkey",
            "response",
            "solution",
            "output",
            "outputs",
            "target",
            "targets",
            "completion",
            "label",
        ),
    ),
    SchemaPattern(
        "inference",
        {
            "premise": ("premise", "sentence1", "question1", "text1"),
            "hypothesis": ("hypothesis", "sentence2", "question2", "text2"),
        },
        {},
        LABELS,
    ),
    SchemaPattern(
        "summary",
        {"document": ("dialogue", "dialog", "document", "article", "conversation", "text")},
        {},
        ("summary", "summaries", "highlights", "abstract", "tldr"),
    ),
    SchemaPattern(
        "classification",
        {"text": ("text", "sentence", "review", "content", "tweet", "utterance", "message", "comment", "document")},
        {},
        LABELS,
    ),
    SchemaPattern(
        "source-target",
        {"source": ("input", "inputs", "prompt", "src", "original", "user", "source")},
        {"system": ("system", "system_prompt")},
        (*REPLIES, "tgt", "translation", "reference", "references", "simplification", "simplifications", "correction"),
    ),
)

# Columns of the formats in `shapes`: where one is there and the rows are not of its format, its cells are wrong.
NEARLY: Mapping[str, tuple[str, str]] = {
    "messages": ("messages", 'lists of {"role": ..., "content": ...}'),
    "conversations": ("sharegpt", 'lists of {"from": ..., "value": ...}'),
    "segments": ("segments", 'lists of {"label": true, "text": ...}'),
    "input_ids": ("tokenised", "lists of token ids"),
    "instances": ("natural-instructions", 'lists of {"input": ..., "output": ...}, beside a Definition'),
}

# Rows that other tools train on and this one does not: a better answer than "nothing fits".
FOREIGN: tuple[tuple[frozenset[str], str, str], ...] = (
    (frozenset({"chosen", "rejected"}), "rows are preference pairs", "keep the chosen answer as the completion"),
    (frozenset({"chosen_messages", "rejected_messages"}), "rows are preference pairs", "keep the chosen messages"),
    (frozenset({"preferred_output", "non_preferred_output"}), "rows are preference pairs", "keep the preferred output"),
    (frozenset({"response_j", "response_k"}), "rows are preference pairs", "keep the better response"),
)


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """How to read the columns of one source.

    ``roles`` maps a role to its column, prompt roles first in the order in which they are shown, "completion"
    last. Which roles occur follows from ``name``:

    ==================  ==========================================  =========================================
    prompt-completion   prompt                                      left as they are: the user glued them
    instruction         instruction, input?, system?                input may be empty in some rows
    question            question, context?, choices?, system?       choices: a list of texts in each row
    inference           premise, hypothesis
    summary             document
    classification      text
    source-target       source, system?
    custom              what the user's field map says
    ==================  ==========================================  =========================================

    Rows of a format (see `shapes`) have the fields that it made of them, mostly prompt and completion.

    ``references`` are further columns that hold accepted completions in some rows ("outputs" beside "output",
    "summary2"). After loading, the completion's column holds a text, or a list of texts where a row has several
    references; ``choices`` are the answers of the whole set (sorted) where they are few and repeated.
    """

    name: str
    roles: Mapping[str, str]
    references: tuple[str, ...] = ()
    part: str | None = None
    choices: tuple[str, ...] | None = None
    metadata: tuple[str, ...] = ()  # columns without a role
    shape: str = ""  # what the rows were before they became these fields, in words; "" for columns of text

    @property
    def completion(self) -> str:
        """The completion's column."""
        return self.roles[COMPLETION]

    @property
    def prompt_columns(self) -> tuple[str, ...]:
        """The columns that the prompt is made of."""
        return tuple(column for role, column in self.roles.items() if role != COMPLETION)

    @property
    def raw(self) -> bool:
        """Prompt and completion stand in the source exactly as the model shall see them."""
        return self.name == "prompt-completion" or (bool(self.shape) and "instruction" not in self.roles)

    @property
    def talks(self) -> bool:
        """Rows are conversations, their turns in the field "messages"."""
        return bool(self.shape) and "messages" in self.metadata

    def describe(self) -> str:
        """'instruction: instruction + input -> output'."""
        if self.shape:
            return f"{self.name}: {self.shape}"
        arrow = " + ".join(self.prompt_columns) or "template"
        return f"{self.name}: {arrow} -> {self.completion}"


def recognise(
    columns: Sequence[str],
    *,
    fields: Mapping[str, str] | None = None,
    path: str | None = None,
    name: str | None = None,
) -> ColumnSchema:
    """Find the layout of a source from its columns.

    Args:
        columns: all column names of the source, in order of appearance.
        fields: the user's own map, role -> column; it then decides alone.
        path: named in errors.
        name: the only layout to be tried.

    Raises:
        DataError: no layout fits, or several do.
        ConfigError: ``fields`` names a column that is not there or has no completion.
    """
    if fields is not None:
        return _mapped(columns, fields)
    found = _found(columns, path, name)
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"the columns {listed(columns)} can be read in {len(found)} ways: "
            + "; ".join(layout.describe() for layout in found),
            path=path,
            remedy=f"{_map_remedy(found[0])}, or name the format: --format {found[0].name}",
        )
    raise _nothing_fits(columns, path, name)


def fitting(columns: Sequence[str]) -> list[str]:
    """Names of the layouts that these columns can be read as."""
    try:
        return [layout.name for layout in _found(columns, None, None)]
    except DataError:  # several columns may be the completion
        return []


def foreign(columns: Sequence[str], path: str | None) -> DataError | None:
    """The error for rows that are made for another kind of training, if they are."""
    names = {canonical(column) for column in columns}
    for marks, meaning, remedy in FOREIGN:
        if marks <= names:
            return DataError(f"{meaning} (columns {listed(columns)}), which cannot be read", path=path, remedy=remedy)
    return None


def _found(columns: Sequence[str], path: str | None, name: str | None) -> list[ColumnSchema]:
    patterns = [pattern for pattern in PATTERNS if name in (None, pattern.name)]
    found = [layout for layout in (_match(pattern, columns, path) for pattern in patterns) if layout]
    return [layout for i, layout in enumerate(found) if not any(_covers(found, j, i) for j in range(len(found)))]


def columns_of(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """All column names, in order of first appearance."""
    return list(dict.fromkeys(column for row in rows for column in row))


def canonical(column: str) -> str:
    """'Input-Text ' -> 'input_text': the spelling in which names are compared."""
    return re.sub(r"[\s\-]+", "_", column.strip().lower())


def _match(pattern: SchemaPattern, columns: Sequence[str], path: str | None) -> ColumnSchema | None:
    """The layout that a pattern makes of these columns, or None."""
    roles: dict[str, str] = {}
    for role, names in (*pattern.required.items(), *pattern.optional.items()):
        column = _find(names, columns)
        if column is not None:
            roles[role] = column
        elif role in pattern.required:
            return None
    taken = set(roles.values())
    _refuse_twins(taken, columns, path)
    stems = set(map(_stem, pattern.completion))
    answers = [column for column in columns if column not in taken and _stem(column) in stems]
    completion = _find_completion(pattern.completion, answers)
    if completion is None:
        return None
    different = {_stem(column) for column in answers} - {"label"}
    if pattern.completion is LABELS:
        different &= CLASSES if _stem(completion) in CLASSES else set()
    if len(different) > 1:
        raise DataError(
            f"several columns may be the completion: {listed(answers)} (read as {pattern.name})",
            path=path,
            remedy=_map_remedy(ColumnSchema(pattern.name, {**roles, COMPLETION: completion})),
        )
    same = [column for column in answers if column != completion and _stem(column) == _stem(completion)]
    roles[COMPLETION] = completion
    used = {*roles.values(), *same}
    rest = tuple(column for column in columns if column not in used)
    return ColumnSchema(pattern.name, _in_order(pattern, roles), references=tuple(same), metadata=rest)


def _refuse_twins(taken: set[str], columns: Sequence[str], path: str | None) -> None:
    """Raises DataError where a second column has the name of a role, but for case and separators."""
    for column in columns:
        twin = next((own for own in taken if own != column and canonical(own) == canonical(column)), None)
        if twin is not None:
            raise DataError(
                f"the columns {listed([twin, column])} differ only in case and separators",
                path=path,
                remedy=f"rename or remove one of them, or {MAP_COLUMNS}",
            )


def _in_order(pattern: SchemaPattern, roles: Mapping[str, str]) -> dict[str, str]:
    """Roles as they are shown: the system text first, a context before its question, choices after it."""
    order = ["system", "context", *pattern.required, *pattern.optional, COMPLETION]
    return {role: roles[role] for role in dict.fromkeys(order) if role in roles}


def _find(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """The column with the best name."""
    spelled = {canonical(column): column for column in reversed(columns)}
    return next((spelled[name] for name in names if name in spelled), None)


def _find_completion(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """The same for a completion, which may also stand under numbered names only ('summary1', 'summary2')."""
    stems = set(map(_stem, names))
    return _find(names, columns) or next((column for column in columns if _stem(column) in stems), None)


def _stem(column: str) -> str:
    """'outputs', 'output_2' -> 'output'; 'summaries' -> 'summary': one completion's columns share a stem."""
    name = re.sub(r"_?\d+$", "", canonical(column))
    if name == "class":
        return name
    return name.removesuffix("ies") + "y" if name.endswith("ies") else name.removesuffix("s")


def _covers(found: Sequence[ColumnSchema], i: int, j: int) -> bool:
    """Schema i uses all columns of schema j and more, or the same and comes first."""
    mine, other = set(found[i].roles.values()), set(found[j].roles.values())
    return mine > other or (mine == other and i < j)


def _mapped(columns: Sequence[str], fields: Mapping[str, str]) -> ColumnSchema:
    """The layout that the user wrote down."""
    for role, column in fields.items():
        if column not in columns:
            raise ConfigError(
                f"fields.{role} names the column '{column}', which the data do not have",
                remedy=f"columns seen: {listed(columns)}",
            )
    if COMPLETION not in fields:
        raise ConfigError("fields names no completion", remedy=f"add completion: one of {listed(columns)}")
    roles = {("source" if role == "prompt" else role): column for role, column in fields.items()}
    wanted = set(roles) - {COMPLETION}
    name = "custom"
    for pattern in PATTERNS:
        if set(pattern.required) <= wanted <= {*pattern.required, *pattern.optional}:
            name, roles = pattern.name, _in_order(pattern, roles)
            break
    roles[COMPLETION] = roles.pop(COMPLETION)
    rest = tuple(column for column in columns if column not in roles.values())
    return ColumnSchema(name, roles, metadata=rest)


def _nothing_fits(columns: Sequence[str], path: str | None, name: str | None) -> DataError:
    """The error that names the columns seen and the nearest layout."""
    error = foreign(columns, path)
    if error is not None:
        return error
    for column in columns:
        if name is None and canonical(column) in NEARLY:
            shape, cells = NEARLY[canonical(column)]
            return DataError(
                f"no format fits the columns {listed(columns)}",
                path=path,
                field=column,
                remedy=f"nearest format: {shape}, whose column '{column}' holds {cells}",
            )
    patterns = [pattern for pattern in PATTERNS if name in (None, pattern.name)]
    best = max(patterns, key=lambda pattern: _overlap(pattern, columns))
    have, missing = _presence(best, columns)
    near = f"nearest layout: {best.name}, which has {listed(have)} and misses {' and '.join(missing)}; " if have else ""
    remedy = f"{near}rename the columns, or {MAP_COLUMNS}"
    return DataError(f"no layout fits the columns {listed(columns)}", path=path, remedy=remedy)


def _overlap(pattern: SchemaPattern, columns: Sequence[str]) -> float:
    """How much of a pattern is there: share of its roles, the completion counted as one of them."""
    have, missing = _presence(pattern, columns)
    return len(have) / (len(have) + len(missing))


def _presence(pattern: SchemaPattern, columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns that fill a role of the pattern, and descriptions of the roles that nothing fills."""
    have, missing = [], []
    for role, names in (*pattern.required.items(), (COMPLETION, pattern.completion)):
        column = _find_completion(names, columns) if role == COMPLETION else _find(names, columns)
        if column is not None:
            have.append(column)
        else:
            missing.append(f"the {role} (one of {', '.join(names[:5])})")
    return have, missing


def _map_remedy(layout: ColumnSchema) -> str:
    """How to say which reading is meant, with the first reading as the example."""
    pairs = " ".join(f"--field {role}={column}" for role, column in layout.roles.items())
    return f"say which: {pairs} (in a recipe or a task's file: fields: {{...}})"


def listed(columns: Sequence[str]) -> str:
    """'a, b, c' ; long lists are cut."""
    return few([f"'{column}'" for column in columns], 12)
