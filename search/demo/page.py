"""The page, made with Gradio, and its server, for this machine only and without requests to any other."""

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.demo.answer import STYLE, empty
from search.demo.answers import Answers
from search.errors import SearchError
from search.report.page.pictures import enlarged as enlarged_pixels
from search.terminal.serving import LOOPBACK, on_port_or_free
from search.terminal.wording import visible

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported

try:
    import gradio
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ImportError as missing:
    raise SearchError(
        f"The demo needs Gradio, which is not installed ({missing.name} is missing): pip install "
        "'fmnist-search[demo]', "
        "or in a checkout .venv/bin/pip install -e '.[demo]'."
    ) from None

SIDE = 336  # of the drawing, in pixels: a multiple of 28 and 48
INKS = ("#18181b", "#52525b", "#a1a1aa")
COLOURS = ("#dc2626", "#16a34a", "#2563eb", "#f59e0b")  # besides, for a model that sees them
EXAMPLES = "Examples, of its training images"
TABS = ("Picture", "Draw")
# The drawing starts without a selected tool, so that drawing would have no effect. Its tools appear when it is ready,
# on a busy machine after seconds.
SELECT_BRUSH = """() => {
    let tries = 200
    const timer = setInterval(() => {
        const brush = document.querySelector('button[aria-label="Brush"]')
        if (brush?.classList.contains('highlight') || --tries < 0) clearInterval(timer)
        else brush?.click()
    }, 300)
}"""
PAGE_STYLE = """
.gradio-container { max-width: 1080px !important; margin: 0 auto; }
.about { opacity: 0.75; }
.asked { height: 350px !important; }
.examples-title { font-weight: 600; min-height: 1.5rem; }
.examples { aspect-ratio: 5 / 2; }
.examples .grid-container { grid-template-columns: repeat(5, minmax(0, 1fr)) !important; grid-auto-rows: auto; }
.examples .grid-container { gap: 6px; padding: 0; }
.examples .gallery-item, .examples button { width: 100%; height: auto; aspect-ratio: 1; min-width: 0; }
.examples img { image-rendering: pixelated; }
.examples .caption-label { font-size: 0.65rem; line-height: 1.2; padding: 0.1rem 0.25rem; max-width: 100%; }
"""
# On a phone the answer is below the window.
TO_ANSWER = (
    "() => { if (matchMedia('(max-width: 700px)').matches) "
    "document.querySelector('.answer').scrollIntoView({behavior: 'smooth'}) }"
)


def build(about: list[str], answers: Answers) -> gradio.Blocks:
    """Return the page: a picture, a drawing or an example on the left, the answer on the right."""

    def to_picture(path: str | None, request: gradio.Request) -> Iterator[str]:
        yield from answers.to_picture(Path(path) if path else None, str(request.session_hash))

    def to_drawing(layers: dict[str, Any] | None, request: gradio.Request) -> Iterator[str]:
        yield from to_picture(layers["composite"] if layers else None, request)

    def to_example(chosen: gradio.SelectData, request: gradio.Request) -> Iterator[str]:
        yield from answers.to_example(chosen.index, str(request.session_hash))

    page: gradio.Blocks
    with gradio.Blocks(title="fmnist-search demo", analytics_enabled=False) as page:
        gradio.Markdown("# What is in the picture?")
        gradio.HTML("".join(f'<p class="about">{line}</p>' for line in about))
        with gradio.Row():
            with gradio.Column():
                with gradio.Tabs():
                    with gradio.Tab(TABS[0]):
                        picture = _picture()
                    with gradio.Tab(TABS[1]) as drawing_tab:
                        drawing = _drawing(INKS + COLOURS if answers.in_colour else INKS)
                title = gradio.HTML(_titled(EXAMPLES))
                examples = _examples()
            with gradio.Column():
                panel = gradio.HTML(empty())
        shown: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
        picture.input(to_picture, picture, panel, **shown)
        picture.clear(to_picture, picture, panel, **shown)
        drawing.change(to_drawing, drawing, panel, **shown)
        drawing_tab.select(None, js=SELECT_BRUSH, api_visibility="private")
        examples.select(to_example, None, panel, **shown)
        examples.select(None, js=TO_ANSWER, api_visibility="private")
        page.load(lambda: _shown_examples(answers.examples()), None, [title, examples], **shown)
    return page


def _picture() -> gradio.Image:
    return gradio.Image(
        type="filepath", image_mode=None, sources=["upload", "clipboard"], label="A picture", elem_classes="asked"
    )


def _drawing(inks: tuple[str, ...]) -> gradio.Sketchpad:
    return gradio.Sketchpad(
        type="filepath",
        label="A drawing, filled in",
        canvas_size=(SIDE, SIDE),
        fixed_canvas=True,
        layers=False,
        transforms=(),
        sources=(),
        brush=gradio.Brush(default_size=28, colors=list(inks), color_mode="fixed"),
        format="png",
        elem_classes="asked",
    )


def _examples() -> gradio.Gallery:
    return gradio.Gallery(
        show_label=False,
        container=False,
        columns=5,
        allow_preview=False,
        interactive=False,
        buttons=[],
        format="png",
        elem_classes="examples",
    )


def _titled(text: str) -> str:
    return f'<p class="examples-title">{escape(visible(text))}</p>'


def _shown_examples(examples: list[tuple[NDArray[np.uint8], str]] | str) -> tuple[str, list[Any]]:
    if isinstance(examples, str):
        return _titled(f"No examples. {examples}"), []
    enlarged = [(enlarged_pixels(pixels), name) for pixels, name in examples]
    return _titled(EXAMPLES), enlarged


def serve(about: list[str], answers: Answers, listening: socket.socket) -> None:
    """Serve the page at that socket until Ctrl-C, then delete all uploads.

    Raises: KeyboardInterrupt, if Ctrl-C came before the page was mounted or if the server passes it on.
    """
    with ExitStack() as stack:
        # Read when the page is built.
        os.environ["GRADIO_TEMP_DIR"] = stack.enter_context(tempfile.TemporaryDirectory())
        application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        application.add_middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])
        mounted = gradio.mount_gradio_app(
            application,
            build(about, answers),
            path="/",
            server_name=LOOPBACK,
            footer_links=[],
            ssr_mode=False,
            # The default fonts would be downloaded from Google.
            theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            css=PAGE_STYLE + STYLE,
        )
        options = uvicorn.Config(mounted, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(options)
        # Before the server handles signals itself, Ctrl-C would leave a half-built event loop, which prints an error.
        signal.signal(signal.SIGINT, server.handle_exit)
        server.run(sockets=[listening])


def listen(port: int) -> socket.socket:
    """Return a socket on the loopback address, at `port` or at a free port if it is taken. Raises: SearchError."""
    return on_port_or_free(lambda free: socket.create_server((LOOPBACK, free)), LOOPBACK, port)
