"""The classes that the exported model confuses, as pairs and as a table. No torch."""

from collections.abc import Sequence
from typing import NamedTuple

from search.study.records import Final
from search.terminal.table import Mark, Table

TITLE = "Confusion, on the test split"
WORST_SHOWN = 3  # mistakes named below the matrix
CONFUSIONS_SHOWN = 15  # if there are too many classes for a matrix
MATRIX_CLASSES = 20
MATRIX_WIDTH = 66  # characters for its figures, which leaves 14 of a terminal's 80 for the names


class Confusion(NamedTuple):
    """Images of one class, by its number, that the exported model predicts as another."""

    true: int
    predicted: int
    mistaken: int
    images: int  # of the true class


class Pair(NamedTuple):
    """Two classes, by their numbers, that the exported model confuses; `first` is mistaken more often."""

    first: int
    second: int
    first_as_second: int
    second_as_first: int

    @property
    def total(self) -> int:
        """Return the mistakes in both directions."""
        return self.first_as_second + self.second_as_first


def most_confused(final: Final, shown: int) -> list[Confusion]:
    """Return the `shown` most frequent mistakes on the test split, most frequent first."""
    confusions = [
        Confusion(true, predicted, count, sum(row))
        for true, row in enumerate(final.confusion)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    return sorted(confusions, key=lambda confusion: confusion.mistaken, reverse=True)[:shown]


def hardest_pairs(final: Final, shown: int) -> list[Pair]:
    """Return the `shown` pairs of classes with the most mistakes in both directions, most first."""
    matrix, pairs = final.confusion, []
    for i in range(len(matrix)):
        for j in range(i):
            first, second = (i, j) if matrix[i][j] >= matrix[j][i] else (j, i)
            pairs.append(Pair(first, second, matrix[first][second], matrix[second][first]))
    return sorted((pair for pair in pairs if pair.total), key=lambda pair: pair.total, reverse=True)[:shown]


def confusion_table(final: Final) -> Table:
    """Return the confusion matrix, or a list of the most frequent mistakes if the matrix is too large."""
    names = [score.name for score in final.classes]
    rows = [
        (name, *(str(n) if n else "·" for n in counts)) for name, counts in zip(names, final.confusion, strict=True)
    ]
    columns = ("true", *short_names(names))
    if len(names) > MATRIX_CLASSES or _figures_width([columns, *rows]) > MATRIX_WIDTH:
        return _confusion_list(final, names)
    worst = most_confused(final, WORST_SHOWN)
    marks: dict[tuple[int, int], Mark] = {(i, i + 1): "strong" for i in range(len(names))}
    marks |= {(confusion.true, confusion.predicted + 1): "alarm" for confusion in worst}
    mistakes = ", ".join(
        f"{names[true]} predicted as {names[predicted]} ({count})" for true, predicted, count, _ in worst
    )
    caption = (
        f"Images of seed {final.exported_seed}: rows are true, columns predicted. Most often: "
        f"{mistakes or 'no mistake'}."
    )
    return Table(TITLE, columns, rows, caption, marks=marks, id="confusion")


def _figures_width(rows: Sequence[tuple[str, ...]]) -> int:
    return sum(max(map(len, column)) + 1 for column in list(zip(*rows, strict=True))[1:])


def _confusion_list(final: Final, names: Sequence[str]) -> Table:
    rows = [
        (names[true], names[predicted], f"{mistaken:,}", f"{100 * mistaken / images:.1f} %")
        for true, predicted, mistaken, images in most_confused(final, CONFUSIONS_SHOWN)
    ]
    kind = "The most frequent of all mistakes" if rows else "No mistake"
    caption = (
        f"Images of seed {final.exported_seed}. {kind} between {len(names)} classes. The whole matrix is in "
        "report.json."
    )
    columns = ("true", "predicted", "images", "share of the true class")
    return Table(TITLE, columns, rows, caption, frozenset({0, 1}), id="confusion")


def short_names(names: Sequence[str]) -> list[str]:
    """Return heads for narrow columns: the first few letters if they are unique, otherwise the classes' numbers."""
    for length in range(4, 7):
        heads = [name[:length].rstrip() for name in names]
        if len(set(heads)) == len(heads):
            return heads
    return [str(i) for i in range(len(names))]
