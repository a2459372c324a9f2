"""The page, made with Gradio, and its server, for this machine only and without requests to any other."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from search.errors import SearchError
from search.terminal.serving import LOOPBACK, on_port_or_free

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

SIDE = 336  # of the drawing, in pixels: twelve times that of the model's images
INKS = ("#18181b", "#52525b", "#a1a1aa")
TABS = ("Picture", "Draw")
# The drawing starts without a selected tool, so that drawing would have no effect.
SELECT_BRUSH = (
    "() => setTimeout(() => document.querySelector('button[aria-label=\"Brush\"]:not(.highlight)')?.click(), 300)"
)
PAGE_STYLE = """
.gradio-container { max-width: 1080px !important; margin: 0 auto; }
.about { opacity: 0.75; }
"""
Answer = Callable[[Path], str]


def build(about: list[str], empty: str, answer: Answer) -> gradio.Blocks:
    """Return the page: a picture or a drawing on the left, the result of `answer` on the right."""

    def answer_picture(path: str | None) -> str:
        return answer(Path(path)) if path else empty

    def answer_drawing(layers: dict[str, Any] | None) -> str:
        return answer_picture(layers["composite"] if layers else None)

    page: gradio.Blocks
    with gradio.Blocks(title="fmnist-search demo", analytics_enabled=False) as page:
        gradio.Markdown("# What garment is this?")
        gradio.HTML("".join(f'<p class="about">{line}</p>' for line in about))
        with gradio.Row():
            with gradio.Column(), gradio.Tabs():
                with gradio.Tab(TABS[0]):
                    picture = gradio.Image(
                        type="filepath",
                        image_mode=None,
                        sources=["upload", "clipboard"],
                        label="A picture of one garment",
                        height=SIDE,
                    )
                with gradio.Tab(TABS[1]) as drawing_tab:
                    drawing = gradio.Sketchpad(
                        type="filepath",
                        label="A drawing, filled in",
                        canvas_size=(SIDE, SIDE),
                        fixed_canvas=True,
                        layers=False,
                        transforms=(),
                        sources=(),
                        brush=gradio.Brush(default_size=28, colors=list(INKS), color_mode="fixed"),
                        format="png",
                    )
            with gradio.Column():
                answer_panel = gradio.HTML(empty)
        picture.change(answer_picture, picture, answer_panel, show_progress="minimal", api_visibility="private")
        drawing.change(answer_drawing, drawing, answer_panel, show_progress="hidden", api_visibility="private")
        drawing_tab.select(None, js=SELECT_BRUSH, api_visibility="private")
    return page


def serve(page: gradio.Blocks, style: str, listening: socket.socket) -> None:
    """Serve the page at that socket until Ctrl-C, then delete all uploads.

    Raises: KeyboardInterrupt, if Ctrl-C came before the page was mounted or if the server passes it on.
    """
    with ExitStack() as stack:
        os.environ["GRADIO_TEMP_DIR"] = stack.enter_context(tempfile.TemporaryDirectory())
        application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        application.add_middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])
        mounted = gradio.mount_gradio_app(
            application,
            page,
            path="/",
            server_name=LOOPBACK,
            footer_links=[],
            ssr_mode=False,
            # The default fonts would be downloaded from Google.
            theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            css=PAGE_STYLE + style,
        )
        options = uvicorn.Config(mounted, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(options)
        # Before the server handles signals itself, Ctrl-C would leave a half-built event loop, which prints an error.
        signal.signal(signal.SIGINT, server.handle_exit)
        server.run(sockets=[listening])


def listen(port: int) -> socket.socket:
    """Return a socket on the loopback address, at `port` or at a free port if it is taken. Raises: SearchError."""
    return on_port_or_free(lambda free: socket.create_server((LOOPBACK, free)), LOOPBACK, port)
