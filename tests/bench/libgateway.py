"""What the benches of the gateway share: the programs, started on loopback below a temporary folder and stopped by pid."""
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

BUILD = os.environ.get("REEVE_BUILD", "build/release")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen in {seconds} s")
        time.sleep(0.02)


def answers(url, status=200):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == status
    except (urllib.error.URLError, OSError):
        return False


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Bench:
    """Programs of one bench; everything is stopped by the pid it was started with."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="reeve-bench-")
        self.children = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            if child.stdin:
                child.stdin.close()
            child.terminate()
        for child in self.children:
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, *command, **options):
        log = open(self.path(os.path.basename(command[0]) + ".log"), "ab")
        child = subprocess.Popen(command, stdout=log, stderr=log, **options)
        self.children.append(child)
        return child

    def nginx(self, name, http, workers=2):
        """One nginx with the given http block; the master's process."""
        config = self.path(name + ".conf")
        prefix = self.path(name)
        os.makedirs(prefix)
        os.chmod(self.folder, 0o755)
        with open(config, "w", encoding="ascii") as file:
            file.write(f"worker_processes {workers}; daemon off; pid {prefix}/pid; error_log {prefix}/error.log;\n"
                       "events { worker_connections 8192; }\n"
                       f"http {{ access_log off; keepalive_requests 100000000; client_body_buffer_size 64k;\n"
                       f"client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy; fastcgi_temp_path "
                       f"{prefix}/f; uwsgi_temp_path {prefix}/u; scgi_temp_path {prefix}/s;\n{http}\n}}\n")
        return self.start("/usr/sbin/nginx", "-p", prefix, "-c", config, "-e", prefix + "/error.log")

    def proxy(self, upstream_port, buffering):
        """nginx as a reverse proxy with kept connections: the reference. Returns process and port."""
        port = free_port()
        child = self.nginx("reference", f"""
            upstream provider {{ server 127.0.0.1:{upstream_port}; keepalive 2048; }}
            server {{ listen 127.0.0.1:{port} backlog=4096 reuseport;
              location / {{ proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
                            proxy_buffering {"on" if buffering else "off"}; }} }}""")
        wait_for("the reference proxy", lambda: is_listening(port))
        return child, port

    def control(self, upstream_url):
        child = self.start(f"{BUILD}/bin/reeve-test-control", self.folder, upstream_url, stdin=subprocess.PIPE)
        wait_for("the control plane", lambda: os.path.exists(self.path("url")))
        return child

    def read(self, name):
        with open(self.path(name), encoding="ascii") as file:
            return file.read().strip()

    def gateway(self, upstream_url, workers=2):
        """The gateway over a control plane that publishes one route to the upstream. Returns process, port, admin port."""
        self.control(upstream_url)
        port, admin = free_port(), free_port()
        with open(self.path("gateway.yaml"), "w", encoding="ascii") as file:
            file.write(f"""listen: "127.0.0.1:{port}"
admin_listen: "127.0.0.1:{admin}"
state_dir: {self.folder}/state
join_token_file: {self.folder}/join-token
allow_private_upstreams: true
workers: {workers}
drain_s: 1
control_plane: {{ url: "{self.read("url")}", allow_private: true }}
spool: {{ sync_ms: {os.environ.get("SYNC_MS", "200")} }}
log: {{ level: warn }}
""")
        child = self.start(f"{BUILD}/bin/reeve-gateway", "--config", self.path("gateway.yaml"))
        wait_for("the gateway", lambda: answers(f"http://127.0.0.1:{admin}/readyz"))
        return child, port, admin


def family(pid):
    """A process and its children."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [pid] + [int(child) for child in file.read().split()]


def cpu_seconds(pid):
    total = 0
    for member in family(pid):
        with open(f"/proc/{member}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    total = 0
    for member in family(pid):
        with open(f"/proc/{member}/status", encoding="ascii") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    return total


def metric(admin, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    raise KeyError(name)


def figure(name, value, unit, goal=None, better="lower"):
    return {"name": name, "value": round(value, 4), "unit": unit, "goal": goal, "better": better}
