"""A control plane that says what a test wants it to say, and remembers what it was asked: for the command line's manners.

    with Pretend() as server:
        server.answer("GET", "/v1/projects", 200, {"data": [], "next_page_token": None})
        ...
        server.asked[-1].path
"""
import http.server
import json
import threading
from dataclasses import dataclass


@dataclass
class Asked:
    method: str
    path: str
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Pretend:
    def __init__(self):
        self.answers, self.asked = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                length = int(self.headers.get("content-length") or 0)
                outer.asked.append(Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()},
                                         self.rfile.read(length)))
                status, body, headers = outer.find(self.command, self.path)
                text = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                kind = "application/problem+json" if status >= 400 else "application/json"
                for name, value in {"content-type": kind, "x-request-id": "req_test", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def answer(self, method, path, status, body=None, **headers):
        """What the next calls get: by the whole path with its query, or without it."""
        self.answers[method, path] = (status, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def problem(self, method, path, status, code, detail="It did not work.", errors=None):
        body = {"type": f"https://reeve.dev/problems/{code}", "status": status, "code": code, "detail": detail}
        self.answer(method, path, status, body if errors is None else {**body, "errors": errors})

    def find(self, method, path):
        for key in ((method, path), (method, path.split("?")[0])):
            if key in self.answers:
                return self.answers[key]
        return 404, {"code": "not-found", "status": 404, "detail": "There is nothing here."}, {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=5)
