"""A whole Reeve on this machine: private PostgreSQL, keeper, control plane, gateway and simulated provider, each the real
program, on loopback and Unix sockets below one folder. The quickstart and the end-to-end tests use it.

    with Stack(home, build) as stack:
        stack.up()
        stack.reeve("project", "create", "search")
        stack.kill("reeved")           # -9
        stack.start("reeved")

Everything is stopped by the pid it was started with.
"""
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START_S = 60
STOP_S = 20


class Trouble(Exception):
    """What went wrong, in a sentence for people."""


def ordinary_user():
    """Who runs the programs: PostgreSQL refuses root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Trouble("there is no ordinary user to run PostgreSQL as")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stack:
    PROGRAMS = ("reeved", "reeve-keeper", "reeve-gateway", "reeve", "reeve-sim")

    def __init__(self, home, build, ports=None, say=print):
        self.home = os.path.abspath(home)
        self.build = os.path.abspath(build)
        self.say = say
        self.user = ordinary_user()
        self.children = {}
        self.ports = ports or {}
        self.state = {}

    # --- files and programs -------------------------------------------------------------------------------------------

    def path(self, *parts):
        return os.path.join(self.home, *parts)

    def folder(self, *parts, mode=0o700):
        path = self.path(*parts)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        return path

    def write(self, name, text, mode=0o600):
        path = self.path(name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        return path

    def config(self, name, settings):
        return self.write(name, yaml.safe_dump(settings, sort_keys=False))

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def as_user(self):
        if not self.user:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def environment(self, **more):
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith("REEVE_") and name not in ("http_proxy", "https_proxy", "all_proxy")}
        return {**kept, "HOME": self.home, "XDG_CONFIG_HOME": self.path("cli"), **more}

    def run(self, *command, data=None, check=True, **more):
        """A command to its end, as the ordinary user; its standard output."""
        result = subprocess.run([str(part) for part in command], input=data, capture_output=True, text=True, timeout=120,
                                cwd=self.home, env=self.environment(**more), **self.as_user(), check=False)
        if check and result.returncode != 0:
            raise Trouble(f"{os.path.basename(str(command[0]))} {' '.join(map(str, command[1:4]))}… ended with "
                          f"{result.returncode}: {result.stderr.strip() or result.stdout.strip()}")
        return result if not check else result.stdout

    def program(self, name):
        return self.path("bin", name)

    def install(self):
        """Copies the programs, so that a build beside does not change what runs, and any user can run them."""
        self.folder(mode=0o711)
        self.folder("bin", mode=0o755)
        for name in self.PROGRAMS:
            source = os.path.join(self.build, "bin", name)
            if not os.path.exists(source):
                raise Trouble(f"{source} is not built")
            if os.path.exists(self.program(name)):
                os.unlink(self.program(name))
            shutil.copy2(source, self.program(name))
            os.chmod(self.program(name), 0o755)

    def start(self, name, *arguments, ready=None, program=None, **more):
        """Starts a long-running program and waits until ready() is true."""
        if not arguments:
            arguments, ready, program = self.children[name][1:]
        self.refuse_taken_ports(name)
        log = open(self.path("log", name + ".log"), "ab")
        command = [program or self.program(name), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
                                   env=self.environment(**more), start_new_session=True, **self.as_user())
        log.close()
        self.children[name] = (process, arguments, ready, program)
        self.wait(name, ready)

    def wait(self, name, ready, within=START_S):
        process = self.children[name][0]
        deadline = time.monotonic() + within
        while ready is not None and not ready():
            if process.poll() is not None:
                raise Trouble(f"{name} ended with {process.returncode}:\n{self.tail(name)}")
            if time.monotonic() > deadline:
                raise Trouble(f"{name} was not ready within {within} s:\n{self.tail(name)}")
            time.sleep(0.02)
        if process.poll() is not None:  # another program may have answered in its place
            raise Trouble(f"{name} ended with {process.returncode}:\n{self.tail(name)}")

    def refuse_taken_ports(self, name):
        """What answers on a port must be what was started, not a stranger that was there before."""
        for part in (name, name + "-admin"):
            with socket.socket() as probe:
                if part in self.ports and probe.connect_ex(("127.0.0.1", self.ports[part])) == 0:
                    raise Trouble(f"port {self.ports[part]}, meant for {part}, is in use by another program")

    def tail(self, name, lines=15):
        try:
            with open(self.path("log", name + ".log"), encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def pid(self, name):
        return self.children[name][0].pid

    def is_running(self, name):
        return name in self.children and self.children[name][0].poll() is None

    def kill(self, name):
        """kill -9, and waits for the end."""
        process = self.children[name][0]
        process.kill()
        process.wait(timeout=STOP_S)

    def stop(self, name, how=signal.SIGTERM):
        process = self.children[name][0]
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self.say(f"{name} did not stop within {STOP_S} s and is ended")
                process.kill()
                process.wait(timeout=STOP_S)
        return process.returncode

    def down(self):
        for name in ("gateway", "reeved", "keeper", "provider", "postgres"):
            if name in self.children:
                self.stop(name, signal.SIGINT if name == "postgres" else signal.SIGTERM)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    # --- what listens -------------------------------------------------------------------------------------------------

    def port(self, name):
        if name not in self.ports:
            self.ports[name] = free_port()
        return self.ports[name]

    def url(self, name):
        return f"http://127.0.0.1:{self.port(name)}"

    def http_ok(self, name, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port(name), timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    # --- the parts ----------------------------------------------------------------------------------------------------

    def postgres_bin(self):
        folder = "/usr/lib/postgresql"
        versions = sorted((v for v in os.listdir(folder)), key=float) if os.path.isdir(folder) else []
        if not versions:
            raise Trouble("PostgreSQL's server programs are not installed (scripts/install-deps)")
        return os.path.join(folder, versions[-1], "bin")

    def conninfo(self, user):
        return f"host={self.path('pg')} port=5432 dbname=reeve user={user}"

    def start_postgres(self):
        tools = self.postgres_bin()
        self.folder("pg")
        if not os.path.exists(self.path("pg", "data", "PG_VERSION")):
            self.run(f"{tools}/initdb", "-D", self.path("pg", "data"), "-N", "-U", "super", "-A", "trust", "-E", "UTF8",
                     "--locale=C.UTF-8")

        def ready():
            return self.run(f"{tools}/pg_isready", "-q", "-h", self.path("pg"), "-U", "super", "-d", "postgres",
                            check=False).returncode == 0
        self.start("postgres", "-D", self.path("pg", "data"), "-k", self.path("pg"), "-h", "", "-p", "5432",
                   "-c", "max_connections=200", "-c", "log_min_messages=warning", ready=ready, program=f"{tools}/postgres")

    def psql(self, sql, user="super", database="reeve"):
        return self.run(f"{self.postgres_bin()}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h",
                        self.path("pg"), "-U", user, "-d", database, "-c", sql)

    def bootstrap_database(self):
        shutil.copy(os.path.join(ROOT, "sql", "bootstrap.sql"), self.path("bootstrap.sql"))
        os.chmod(self.path("bootstrap.sql"), 0o644)
        self.run(f"{self.postgres_bin()}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.path("pg"), "-U", "super",
                 "-d", "postgres", "-v", "database=reeve", "-f", self.path("bootstrap.sql"))

    # --- the command line ----------------------------------------------------------------------------------------------

    def reeve(self, *words, data=None, check=True, as_json=True, **more):
        """One command of the CLI; its answer, decoded."""
        words = [str(word) for word in words]
        end = words.index("--") if "--" in words else len(words)
        if as_json:
            words[end:end] = ["-o", "json"]
        out = self.run(self.program("reeve"), *words, data=data, check=check, **more)
        if not check:
            return out
        return json.loads(out) if as_json and out.strip() else out
