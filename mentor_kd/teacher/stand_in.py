"""A stand-in for an endpoint: a local server that answers with a Python function, to rehearse before paying.

`StandIn(function).start()` serves the chat and completions routes at its `url`. The function receives the prompt text
and the request's seed (None without one), and returns the answer or (answer, finish_reason). Tokens are counted by
`store.estimated_tokens`. Use it in a class or notebook, or to see what a run would send.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .store import estimated_tokens

Answer = Callable[[str, int | None], str | tuple[str, str]]


class StandIn:
    """The server; `asked` counts its requests. `with StandIn(function) as server` also stops it."""

    def __init__(self, function: Answer):
        self.function, self.asked = function, 0

    def __enter__(self) -> "StandIn":
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def start(self) -> "StandIn":
        stand_in, counting = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # keep connections open, like a real server
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with counting:
                    stand_in.asked += 1
                reply = json.dumps(stand_in.reply(body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, body: dict) -> dict:
        """The reply to a request body, cut at its token limit as a model's would be."""
        text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        answer = self.function(text, body.get("seed"))
        written, finish = answer if isinstance(answer, tuple) else (answer, "stop")
        limit = body.get("max_tokens", body.get("max_completion_tokens"))
        if limit is not None and estimated_tokens(written) > limit:
            written, finish = written[: 4 * limit], "length"
        said = {"text": written} if "prompt" in body else {"message": {"role": "assistant", "content": written}}
        usage = {"prompt_tokens": estimated_tokens(text), "completion_tokens": estimated_tokens(written)}
        return {"model": "stand-in", "choices": [{"index": 0, "finish_reason": finish, **said}], "usage": usage}
