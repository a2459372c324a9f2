"""The page's section on the result: scores, confusion, calibration and mistakes. No torch."""

from collections.abc import Iterator
from dataclasses import replace

from search.report.calibration import calibration, error_without, fitted_on
from search.report.confusion import MATRIX_CLASSES, short_names
from search.report.page import result_figures
from search.report.page.blocks import Block, Facts, Matrix, Picture, report_blocks, table_block
from search.report.page.class_figures import class_bars, class_differences
from search.report.page.front_figure import front_figure
from search.report.page.missing import Missing
from search.report.page.pictures import as_address
from search.report.page.tables import brief, pairs_table, reliability_table
from search.study.predictions import Predictions, surest_mistakes
from search.study.records import Final
from search.terminal.wording import counted

MISTAKES_SHOWN = 40
NO_FINAL = (
    "There is no final model yet. Repeat the command that started the study to finish it; the test split is opened "
    "only at the end."
)


def result_blocks(facts: Facts) -> Iterator[Block]:
    """Return the blocks of the final result, or one that says that there is none yet."""
    final = facts.report.final
    if final is None:
        yield Block("Not there yet", NO_FINAL)
        return
    if "front" in facts.tables:
        yield replace(table_block(facts.tables["front"]), figures=[front_figure(facts)])
    yield from report_blocks(facts, "final", "teachers")
    yield _classes(facts, final)
    yield _confusion(facts, final)
    yield table_block(pairs_table(final))
    yield from _prediction_blocks(facts, final)


def _classes(facts: Facts, final: Final) -> Block:
    block = table_block(facts.tables["classes"])
    if (baseline := facts.baseline) is None:
        return block
    names, finals = (baseline.study, facts.report.study), (baseline.final, final)
    text = f"{block.text} Grey is the baseline, the study {baseline.study}, on the same test images."
    return replace(block, text=text, figures=[class_bars(names, finals), class_differences(names, finals)])


def _confusion(facts: Facts, final: Final) -> Block:
    table = facts.tables["confusion"]
    if len(final.classes) > MATRIX_CLASSES:
        text = (
            f"{len(final.classes)} classes, seed {final.exported_seed}. Hover over a cell to see its figures; the most "
            "frequent mistakes are below."
        )
        return Block("Confusion", text, [result_figures.heatmap(final)], [table], id=table.id)
    rows = [
        [(n, round(100 * n / max(1, sum(row)), 1), i == j) for j, n in enumerate(row)]
        for i, row in enumerate(final.confusion)
    ]
    names = [score.name for score in final.classes]
    matrix = Matrix([brief(name) for name in names], [brief(head) for head in short_names(names)], rows)
    return Block("Confusion", table.caption, matrix=matrix, id=table.id)


def _prediction_blocks(facts: Facts, final: Final) -> Iterator[Block]:
    predictions = facts.predictions
    if isinstance(predictions, Missing):
        yield Block("Calibration and surest mistakes", predictions.why)
        return
    measured = calibration(predictions.confidence, predictions.is_right)
    bias = float(predictions.confidence.mean()) - float(predictions.is_right.mean())
    text = (
        f"Expected calibration error {measured.error:.4f} over {counted(measured.images, 'test image')}, seed "
        f"{final.exported_seed}: the mean difference between probability and accuracy over {len(measured.bins)} bins "
        f"of equal width. Over all images the model is {'overconfident' if bias > 0 else 'underconfident'} by "
        f"{abs(bias):.4f}."
    )
    if final.temperature is not None:
        seeds = next((row.seeds for row in facts.report.confirmed if row.trial == final.trial), 0)
        text += (
            f" The class scores are divided by the temperature {final.temperature:g}, fitted on "
            f"{fitted_on(final.trial, seeds)}; without it the error would be "
            f"{error_without(final.temperature, predictions):.4f}."
        )
    yield Block("Calibration", text, [result_figures.reliability(measured)], folded=[reliability_table(measured)])
    yield _mistakes(facts, predictions, final)


def _mistakes(facts: Facts, predictions: Predictions, final: Final) -> Block:
    title, pixels = "Surest mistakes", facts.pixels
    mistakes = surest_mistakes(predictions, MISTAKES_SHOWN)
    if isinstance(pixels, Missing):
        return Block(title, pixels.why)
    if not mistakes:
        return Block(title, "There is no mistake on the test split.")
    names = [brief(score.name) for score in final.classes]
    pictures = [
        Picture(
            address=as_address(pixels[mistake.row]),
            true=names[mistake.true],
            predicted=names[mistake.predicted],
            probability=f"{mistake.confidence:.1%}",
            row=mistake.row,
        )
        for mistake in mistakes
    ]
    text = (
        f"The {counted(len(pictures), 'mistake')} of seed {final.exported_seed} with the highest probability. Some "
        "labels are debatable. Do not make any choice because of these images: they are of the test split."
    )
    return Block(title, text, pictures=pictures)
