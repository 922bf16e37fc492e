"""The set-up behind scripts/quickstart: from an empty folder to two organizations that call models through a gateway.

    quickstart.py --home DIR --build DIR [--fresh] [--once]

Every step is what an operator would type; a second run finds what the first made and only starts the programs.
"""
import argparse
import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stack import ROOT, Stack, Trouble  # noqa: E402
from simulated import Simulated  # noqa: E402

PORTS = {"reeved": 8480, "gateway": 8488, "gateway-admin": 8489, "provider": 8490}
PROVIDER_ARGUMENTS = ("--first-byte-ms", "120", "--token-ms", "8")

# Two organizations; the first has a workflow in each dialect, with a fallback.
SAMPLE = [
    {"organization": "acme", "project": "search", "workflows": [
        ("summarize", "openai", ["gpt-4o-mini", "gpt-4o"]), ("review", "anthropic", ["claude-haiku-4-5", "claude-sonnet-4-5"])]},
    {"organization": "globex", "project": "support", "workflows": [("reply", "openai", ["gpt-4o-mini", "gpt-4.1-mini"])]},
]


class Quickstart(Stack):
    """A Stack that knows the order in which an installation comes into being."""

    def settings(self):
        """Configuration files of the daemons, as they stand in the folder."""
        self.folder("log")
        self.folder("run")
        for name in ("keeper", "gateway"):
            self.folder(name)
        self.config("keeper.yaml", {
            "installation": self.state["installation"], "socket": self.path("run", "keeper.sock"),
            "state_dir": self.path("keeper"), "root_file": self.path("root", "root.jws"),
            "root_hash": self.state.get("root_hash", ""), "kms": ["local:default"],
            "local_kms": {"default": {"root_key_file": self.path("kms.key")}}})
        self.config("reeved.yaml", {
            "listen": {"address": "127.0.0.1", "port": self.port("reeved")},
            "database": {role: self.conninfo("reeve_" + role) for role in ("api", "worker", "publish", "ingest", "migrate")},
            "keeper_socket": self.path("run", "keeper.sock"), "root_file": self.path("root", "root.jws"),
            "root_hash": self.state.get("root_hash", ""), "kms_uri": "local:default", "plain_http": True})
        self.config("gateway.yaml", {
            "listen": f"127.0.0.1:{self.port('gateway')}", "admin_listen": f"127.0.0.1:{self.port('gateway-admin')}",
            "state_dir": self.path("gateway"), "name": "gateway-1",
            "control_plane": {"url": self.url("reeved"), "allow_private": True},
            "join_token_file": self.path("join.token"), "allow_private_upstreams": True})

    # --- the first time -------------------------------------------------------------------------------------------------

    def make_root(self):
        """The keeper makes its keys; the operator signs them into the root."""
        self.write("kms.key", base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=") + "\n")
        self.run(self.program("reeve-keeper"), "--config", self.path("keeper.yaml"), "init")
        root = self.reeve("root", "init", "--dir", self.path("root"), "--keeper-keys", self.path("keeper", "keeper-keys.json"),
                          "--installation", self.state["installation"], "--quiet")
        self.state["root_hash"] = root["root_hash"]

    def first_token(self):
        """The database gets its schema and the installation its first token."""
        self.migrate()
        self.run(self.program("reeved"), "bootstrap-token", "--config", self.path("reeved.yaml"),
                 "--installation", self.state["installation"], "--out", self.path("operator.token"))

    def migrate(self):
        self.run(self.program("reeved"), "migrate", "--config", self.path("reeved.yaml"))

    def operator(self, *words, **more):
        return self.reeve(*words, "--url", self.url("reeved"), "--token-file", self.path("operator.token"),
                          "--root-hash", self.state["root_hash"], **more)

    def owner(self, organization, *words, **more):
        return self.reeve(*words, "--context", organization, **more)

    def add_organization(self, sample, fleet):
        name = sample["organization"]
        self.operator("organization", "create", name)
        self.operator("fleet", "serve", fleet, name)
        answer = self.operator("organization", "admit", name, "owner", "--quiet")
        token_file = self.write(f"{name}.token", answer["token"] + "\n")
        self.reeve("context", "add", name, "--url", self.url("reeved"), "--token-file", token_file, "--root-hash",
                   self.state["root_hash"], "--project", sample["project"], "--quiet", as_json=False)

    def add_project(self, sample):
        name, project = sample["organization"], sample["project"]
        self.owner(name, "project", "create", project)
        lanes = []
        for workflow, dialect, models in sample["workflows"]:
            base_url = self.url("provider") + ("/v1" if dialect == "openai" else "")
            for place in ("primary", "backup"):
                secret = f"{workflow}-{place}"
                key = f"sk-{place}-{os.urandom(12).hex()}"
                self.owner(name, "secret", "create", secret, "--origin", self.url("provider"), "--from-file", "-", data=key)
                self.owner(name, "connection", "create", secret, "--dialect", dialect, "--base-url", base_url, "--secret", secret)
                if place == "primary":
                    lanes.append(self.lane(name, project, workflow, dialect, models, key))
                else:
                    lanes[-1]["fallback_key_sha256"] = [hashlib.sha256(key.encode()).hexdigest()]
            made = self.owner(name, "workflow", "create", workflow, "--dialect", dialect)
            lanes[-1]["workflow_id"] = made["id"]
            self.owner(name, "workflow", "revise", workflow, "--release", "--quiet",
                       "--target", f"connection={workflow}-primary,model={models[0]}",
                       "--target", f"connection={workflow}-backup,model={models[1]}")
        key = self.owner(name, "key", "create", "first", "--quiet")
        self.write(f"{project}.key", key["token"] + "\n")
        for lane in lanes:
            lane["client_key_file"] = self.path(f"{project}.key")
        return lanes

    def lane(self, organization, project, workflow, dialect, models, key):
        found = self.owner(organization, "project", "get", project)
        return {"project": project, "project_id": found["id"], "workflow": workflow, "dialect": dialect, "models": models,
                "key_sha256": hashlib.sha256(key.encode()).hexdigest()}

    def prices(self):
        source = os.path.join(ROOT, "policies", "prices", "sample.json")
        target = self.path("prices.json")
        shutil.copy(source, target)
        os.chmod(target, 0o644)
        self.operator("price", "import", target, "--apply", "--quiet")

    def first_time(self):
        self.bootstrap_database()
        self.make_root()
        self.settings()
        self.first_token()
        self.start_keeper()
        self.start_reeved()
        fleet = self.operator("fleet", "create", "main")
        self.state["fleet"] = fleet["id"]
        self.operator("fleet", "join-token", fleet["id"], "--enrol-key", self.path("root", "enrol.key"), "--root",
                      self.path("root", "root.jws"), "--ttl", "1h", "--join-url", self.url("reeved"), "--out", self.path("join.token"))
        self.prices()
        lanes = []
        for sample in SAMPLE:
            self.add_organization(sample, fleet["id"])
            lanes += self.add_project(sample)
        self.write("replay.json", json.dumps({
            "gateway": self.url("gateway"), "admin": self.url("reeved"), "provider": self.url("provider"),
            "token_files": [self.path(s["organization"] + ".token") for s in SAMPLE],
            "prices": self.path("prices.json"), "lanes": lanes}, indent=2))
        self.state["done"] = True
        self.write("state.json", json.dumps(self.state))

    # --- every time -----------------------------------------------------------------------------------------------------

    def start_provider(self, *arguments):
        self.start("provider", "--port", self.port("provider"), "--journal", self.path("provider.journal"),
                   *(arguments or PROVIDER_ARGUMENTS), program=self.program("reeve-sim"),
                   ready=lambda: self.http_ok("provider", "/_sim/stats"))

    def start_keeper(self):
        self.start("keeper", "--config", self.path("keeper.yaml"), program=self.program("reeve-keeper"),
                   ready=lambda: os.path.exists(self.path("run", "keeper.sock")))

    def start_reeved(self):
        self.start("reeved", "serve", "--config", self.path("reeved.yaml"), ready=lambda: self.http_ok("reeved", "/readyz"))

    def start_gateway(self):
        self.start("gateway", "--config", self.path("gateway.yaml"), program=self.program("reeve-gateway"),
                   ready=lambda: self.http_ok("gateway-admin", "/readyz"))

    def is_made(self):
        return os.path.exists(self.path("state.json"))

    def check_ports(self):
        """Whoever answers there already would be taken for ours."""
        for name in PORTS:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port(name))) == 0:
                    raise Trouble(f"something listens on 127.0.0.1:{self.port(name)} already ({name}): is another quickstart running?")

    def up(self):
        """Everything runs when this returns."""
        self.install()
        self.folder("log")
        if self.is_made():
            self.state = json.loads(self.read("state.json"))
            self.ports = {**self.state["ports"], **self.ports}
        else:
            for name in PORTS:
                self.port(name)
            self.state = {"ports": self.ports, "installation": new_installation()}
        self.check_ports()
        self.settings()
        self.say("starting PostgreSQL and the simulated provider")
        self.start_postgres()
        self.start_provider()
        if self.is_made():
            self.migrate()
            self.start_keeper()
            self.start_reeved()
        else:
            self.say("making the installation: root, database, organizations")
            self.first_time()
        self.say("starting the gateway")
        self.start_gateway()
        self.write_environment()

    def write_environment(self):
        """What a shell needs to know, for the tutorial and for people: . HOME/env"""
        self.write("acme.auth", f"Authorization: Bearer {self.read('acme.token').strip()}\n")
        self.write("env", f"""# Where this Reeve is; no secret stands here.
export PATH="{self.path('bin')}:$PATH"
export XDG_CONFIG_HOME="{self.path('cli')}"
export ADMIN="{self.url('reeved')}" GATEWAY="{self.url('gateway')}" PROVIDER="{self.url('provider')}"
export AUTH="{self.path('acme.auth')}" OPERATOR="{self.path('operator.token')}" FLEET="{self.state['fleet']}"
export REEVE_GATEWAY="$GATEWAY" REEVE_CONTEXT=acme
""", mode=0o644)

    def provider(self):
        return Simulated(port=self.port("provider"))


def new_installation():
    """An id of the installation: ins_ and a UUIDv7 in Crockford's base32."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xf << 76) | (7 << 76)
    number = number & ~(3 << 62) | (2 << 62)
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    return "ins_" + "".join(digits[number >> shift & 31] for shift in range(125, -1, -5))


def next_steps(stack):
    key = stack.read("search.key").strip()
    gateway, admin = stack.url("gateway"), stack.url("reeved")
    return f"""
Reeve runs. (local KMS: good for a try, not for production)

  admin API   {admin}          gateway     {gateway}
  provider    {stack.url("provider")} (simulated) logs        {stack.path("log")}
  client key of project search: {key}

Six things to try in another terminal, after:
  . {stack.path("env")}

1. call a model by the name of a workflow
   curl -s {gateway}/v1/chat/completions -H "Authorization: Bearer {key}" -H 'Content-Type: application/json' -d '{{"model":"summarize","messages":[{{"role":"user","content":"Hello"}}]}}'
2. the same as a stream, from an Anthropic client
   curl -sN {gateway}/v1/messages -H "x-api-key: {key}" -H 'anthropic-version: 2023-06-01' -H 'Content-Type: application/json' -d '{{"model":"review","max_tokens":64,"stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'
3. rotate the provider key; nothing is restarted
   printf sk-new-key | reeve secret rotate summarize-primary --overlap 1m --from-file -
4. switch the workflow to another model, and go back
   reeve workflow switch summarize gpt-4.1-mini && reeve workflow rollback summarize
5. ask for the bill
   reeve usage list --group-by project,workflow,model,meter --context acme
6. see who did what
   reeve audit list

docs/TUTORIAL.md goes on from here. Ctrl-C stops everything; the next run picks up where this one ended.
"""


def wait_for_end(stack):
    stopping = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.append(True))
    while not stopping:
        for name in stack.children:
            if not stack.is_running(name):
                raise Trouble(f"{name} ended by itself:\n{stack.tail(name)}")
        time.sleep(0.3)
    stack.say("\nstopping")


def fresh_folder(home):
    """Deletes only what a quickstart made."""
    if not os.path.exists(home):
        return
    known = {"bin", "log", "pg"}
    if os.listdir(home) and not known & set(os.listdir(home)):
        raise Trouble(f"{home} was not made by a quickstart: it is not deleted")
    shutil.rmtree(home)


def main():
    parser = argparse.ArgumentParser(prog="scripts/quickstart", description=__doc__.splitlines()[0])
    parser.add_argument("--home", required=True, help="the folder that holds everything")
    parser.add_argument("--build", required=True, help="where the programs were built")
    parser.add_argument("--fresh", action="store_true", help="delete what an earlier run made, and start over")
    parser.add_argument("--once", action="store_true", help="set up, print, stop")
    asked = parser.parse_args()
    began = time.monotonic()
    try:
        if asked.fresh:
            fresh_folder(asked.home)
        elif os.path.exists(asked.home) and not os.path.exists(os.path.join(asked.home, "state.json")):
            fresh_folder(asked.home)  # an earlier run was stopped half-way
        with Quickstart(asked.home, asked.build, ports=dict(PORTS)) as stack:
            stack.up()
            print(next_steps(stack))
            print(f"ready after {time.monotonic() - began:.1f} s", flush=True)
            if not asked.once:
                wait_for_end(stack)
    except (Trouble, OSError) as trouble:
        print(f"quickstart: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
