"""A small OpenAI-compatible server on this machine that misbehaves as it is told, for the tests of the chat client."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def reply(text: str, *, prompt: int = 7, answer: int = 3, **more: object) -> bytes:
    record = {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer},
    }
    return json.dumps({**record, **more}).encode()


class Asked:
    """What the server was asked: bodies in order of arrival, headers of the last, most requests at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bodies: list[dict] = []
        self.headers: dict[str, str] = {}
        self.now = self.most = 0
        self.tries: dict[str, int] = {}


@contextlib.contextmanager
def serving(behave: Callable[[str, int], object]) -> Iterator[tuple[str, Asked]]:
    """Serve `behave(last message, number of the try of this message)`.

    It gives bytes (a 200 with this body), (status, headers, bytes), ("sleep", seconds, bytes), ("drip", seconds),
    ("cut", bytes) for a body shorter than announced, or "hang up".
    """
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            spoken = body["messages"][-1]["content"]
            with asked.lock:
                asked.bodies.append(body)
                asked.headers = {"path": self.path, **{k.lower(): v for k, v in self.headers.items()}}
                asked.tries[spoken] = asked.tries.get(spoken, 0) + 1
                asked.now += 1
                asked.most = max(asked.most, asked.now)
            try:
                what = behave(spoken, asked.tries[spoken])
                if isinstance(what, tuple) and what[0] == "sleep":
                    time.sleep(what[1])
                    what = (200, {}, what[2])
            finally:
                with asked.lock:  # before the answer goes out: who has it may ask again at once
                    asked.now -= 1
            self.behaved(what)
            self.close_connection = True

        def behaved(self, what: object) -> None:
            if what == "hang up":
                return
            if isinstance(what, bytes):
                what = (200, {}, what)
            with contextlib.suppress(OSError):
                if what[0] == "drip":
                    self.send_response(200)
                    self.end_headers()
                    for _ in range(int(what[1] / 0.02)):
                        self.wfile.write(b" ")
                        self.wfile.flush()
                        time.sleep(0.02)
                    return
                status, headers, body = (200, {}, what[1]) if what[0] == "cut" else what
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) + (100 if what[0] == "cut" else 0)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
