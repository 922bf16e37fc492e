"""Someone who has what a test gives them: a data plane's identity, or a canary and the right to look everywhere.

    plane = DataPlane(stack, data_plane_id)
    plane.post_events([event(plane, …)])

    canary = Canary()
    canary.in_bytes(b"…"), canary.in_tree(path), canary.in_memory(pid)
"""
import base64
import binascii
import json
import os
import subprocess
import tempfile
import time
import urllib.parse

from scene import http_call

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
REGION_BYTES_MAX = 1 << 31
ED25519_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")


def typeid(prefix, number):
    """prefix_ and 128 bits in Crockford's base32."""
    return prefix + "_" + "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def uuid_v7(at_ms):
    number = (int(at_ms) << 80) | int.from_bytes(os.urandom(10), "big")
    return number & ~(0xf << 76) & ~(3 << 62) | (7 << 76) | (2 << 62)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sign_jws(jwk, typ, payload):
    """A compact JWS by a private Ed25519 JWK; openssl has the arithmetic."""
    header = {"alg": "EdDSA", "kid": jwk["kid"], "typ": typ}
    signed = ".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, payload))
    with tempfile.TemporaryDirectory() as folder:
        key, text = os.path.join(folder, "key.der"), os.path.join(folder, "text")
        with open(key, "wb") as file:
            file.write(ED25519_PKCS8 + unbase64url(jwk["d"]))
        with open(text, "wb") as file:
            file.write(signed.encode())
        signature = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", key, "-in", text],
                                   check=True, capture_output=True, timeout=30).stdout
    return f"{signed}.{base64url(signature)}"


class DataPlane:
    """Calls of the control plane as a gateway makes them, with the gateway's own identity."""

    def __init__(self, stack, data_plane):
        identity = json.loads(stack.read("gateway/reeve/identity.json"))
        self.stack, self.id, self.installation, self.jwk = stack, data_plane, identity["installation"], identity["sign"]
        self.sequence, self.epoch = 0, int(time.time())

    def assertion(self, **changes):
        now = int(time.time())
        return sign_jws(self.jwk, "reeve-dpl+jws", {"v": 1, "data_plane": self.id, "aud": self.installation, "iat": now,
                                                    "exp": now + 60, "jti": base64url(os.urandom(16)), **changes})

    def token(self):
        answer = http_call(self.stack.port("reeved"), "POST", "/v1/data-planes/token", {"assertion": self.assertion()})
        return answer.json["access_token"]

    def event(self, at_s, org, project, workflow, revision, client_key):
        """A refused call's event: nothing was asked of a provider."""
        self.sequence += 1
        return {"specversion": "1.0", "type": "reeve.usage.v1", "source": self.id, "id": typeid("evt", uuid_v7(at_s * 1000)),
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)), "datacontenttype": "application/json",
                "data": {"epoch": self.epoch, "sequence": self.sequence, "org": org, "project": project, "workflow": workflow,
                         "revision": revision, "client_key": client_key, "dialect": "openai", "stream": False,
                         "end_user": None, "labels": {}, "correlation_id": None, "trace_id": None,
                         "request_id": "req_test", "outcome": "refused", "status": 400,
                         "timings": {"queue_us": 1, "first_byte_us": 1, "total_us": 1}, "attempts": []}}

    def post_events(self, events):
        return http_call(self.stack.port("reeved"), "POST", "/v1/usage/events", json.dumps(events),
                         {"authorization": f"Bearer {self.token()}", "content-type": "application/cloudevents-batch+json"})


class Canary:
    """A provider key that can be found again in any dress: raw, base64 at any alignment, base64url, hex, URL-encoded."""

    def __init__(self):
        self.text = f"sk-canary/+{binascii.hexlify(os.urandom(20)).decode()}=&~"
        raw = self.text.encode()
        self.dresses = {"raw": raw, "hex": binascii.hexlify(raw), "HEX": binascii.hexlify(raw).upper(),
                        "URL-encoded": urllib.parse.quote(self.text, safe="").encode(), "UTF-16": self.text.encode("utf-16-le"),
                        "its random part": self.text[11:51].encode()}
        for offset in range(3):
            for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
                text = encode(b"\0" * offset + raw).rstrip(b"=")
                # The characters that neighbours cannot change.
                self.dresses[f"{name}+{offset}"] = text[-(-offset * 8 // 6):-2]

    def in_bytes(self, data):
        """In which dresses the canary stands there."""
        return sorted(name for name, dress in self.dresses.items() if dress in data)

    def in_tree(self, path):
        """{file: dresses} below a folder."""
        found = {}
        for folder, _, names in os.walk(path):
            for name in names:
                full = os.path.join(folder, name)
                try:
                    with open(full, "rb") as file:
                        seen = self.in_bytes(file.read())
                except OSError:
                    continue
                if seen:
                    found[full] = seen
        return found

    def in_memory(self, pid, shared=True):
        """{region: dresses} of a process's writable memory; without what it shares, when others are looked at too."""
        found = {}
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in maps:
                place, mode, *rest = line.split()
                if "w" not in mode or (not shared and "s" in mode) or (rest[-1:] or [""])[0].startswith(("[vvar", "[vsyscall")):
                    continue
                begin, end = (int(part, 16) for part in place.split("-"))
                if end - begin > REGION_BYTES_MAX:  # a sanitizer's own
                    continue
                seen = self.in_region(memory, begin, end)
                if seen:
                    found[line.strip()] = seen
        return found

    def in_region(self, memory, begin, end, step=16 << 20, overlap=512):
        seen = set()
        at = begin
        while at < end:
            try:
                memory.seek(at)
                data = memory.read(min(step, end - at))
            except (OSError, ValueError, OverflowError):
                break
            if not data:
                break
            seen.update(self.in_bytes(data))
            if at + len(data) >= end:
                break
            at += max(1, len(data) - overlap)
        return sorted(seen)


def children_of(pid):
    """The process and everything below it."""
    found, below = [pid], {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                    below.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(int(name))
            except OSError:
                continue
    for parent in found:
        found += below.get(parent, [])
    return found
