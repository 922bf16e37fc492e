// Reads a whole snapshot as a stranger would who has only docs/SNAPSHOTS.md, a stock JOSE library and Node: verifies the
// root by its hash, the manifest, every shard and object by digest, unwraps the fleet key and opens every active secret.
//
//   node snapshot.mjs URL IDENTITY.json        prints {"seq", "projects", "secrets": [{id, version, origin, sha256}]}
import { createHash, hkdfSync, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import * as jose from "jose";

const [url, identityFile] = process.argv.slice(2);
const identity = JSON.parse(readFileSync(identityFile, "utf8"));
const text = new TextDecoder();
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("base64url");
const check = (what, condition) => {
  if (!condition) throw new Error(`not as documented: ${what}`);
};

// prj_01h455vb4pex5vsknk084sn02q: the 128 bits of a UUID in 26 letters of base32.
function idBytes(id) {
  let number = 0n;
  for (const letter of id.split("_")[1]) number = (number << 5n) | BigInt("0123456789abcdefghjkmnpqrstvwxyz".indexOf(letter));
  return Buffer.from(number.toString(16).padStart(32, "0"), "hex");
}

async function privateKey(jwk, alg) {
  return jose.importJWK({ ...jwk }, alg);
}

async function request(path, options = {}) {
  const response = await fetch(url + path, { redirect: "error", ...options });
  check(`${path} answers ${response.status}`, response.ok);
  return new Uint8Array(await response.arrayBuffer());
}

// --- who we are: an assertion by our signing key buys a short token ---

const sign = await privateKey(identity.sign, "EdDSA");
const dataPlane = dataPlaneId();
function dataPlaneId() {
  const digest = createHash("sha256")
    .update("reeve-dpl").update(idBytes(identity.installation)).update(Buffer.from(identity.sign.x, "base64url")).digest();
  const id = digest.subarray(0, 16);
  id[6] = (id[6] & 0x0f) | 0x80;
  id[8] = (id[8] & 0x3f) | 0x80;
  const letters = "0123456789abcdefghjkmnpqrstvwxyz";
  const number = BigInt("0x" + id.toString("hex"));
  return "dpl_" + Array.from({ length: 26 }, (_, i) => letters[Number((number >> BigInt(125 - 5 * i)) & 31n)]).join("");
}
const now = Math.floor(Date.now() / 1000);
const assertion = await new jose.CompactSign(
  new TextEncoder().encode(JSON.stringify({
    v: 1, data_plane: dataPlane, aud: identity.installation, iat: now, exp: now + 60, jti: randomUUID().replaceAll("-", ""),
  })))
  .setProtectedHeader({ alg: "EdDSA", kid: await jose.calculateJwkThumbprint(identity.sign), typ: "reeve-dpl+jws" })
  .sign(sign);
const { access_token } = JSON.parse(text.decode(await request("/v1/data-planes/token", {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ assertion }),
})));
const get = (path) => request(path, { headers: { authorization: `Bearer ${access_token}` } });

// --- the root: known by the hash of its exact bytes ---

const rootBytes = await get("/v1/snapshot/root?version=1");
check("the root has the hash of the join token", sha256(rootBytes) === identity.root);
const rootJws = JSON.parse(text.decode(rootBytes));
const rootPayload = JSON.parse(text.decode(Buffer.from(rootJws.payload, "base64url")));
const keysOf = async (role) => Promise.all(rootPayload.roles[role].keys.map(async (jwk) => [
  await jose.calculateJwkThumbprint(jwk), await jose.importJWK(jwk, role === "intake" ? "ECDH-ES" : "EdDSA")]));
const byKid = (pairs) => (header) => {
  const found = pairs.find(([kid]) => kid === header.kid);
  check(`a key of the role has the kid ${header.kid}`, found);
  return found[1];
};
await jose.generalVerify(rootJws, byKid(await keysOf("root")), { algorithms: ["EdDSA"] });
check("the root is of our installation", rootPayload.installation === identity.installation);
const manifestKeys = byKid(await keysOf("manifest"));

async function verified(jws, typ) {
  const { payload, protectedHeader } = await jose.compactVerify(jws, manifestKeys, { algorithms: ["EdDSA"] });
  check(`the typ is ${typ}`, protectedHeader.typ === typ);
  return JSON.parse(text.decode(payload));
}

// --- the manifest, its 256 shards, their objects ---

const manifestJws = text.decode(await get("/v1/snapshot/manifest?after=0&wait=5"));
const manifest = await verified(manifestJws, "reeve-manifest+jws");
check("the manifest is of our fleet", manifest.fleet === identity.fleet && manifest.installation === identity.installation);
check("there are 256 shards", manifest.shards.length === 256);
check("the manifest has not expired", Date.parse(manifest.hard_expiry) > Date.now());

const heartbeat = await verified(text.decode(await get(`/v1/snapshot/manifest?after=${manifest.seq}&wait=0`)), "reeve-heartbeat+jws");
check("the heartbeat names the manifest", heartbeat.seq === manifest.seq && heartbeat.manifest === sha256(manifestJws));

async function byDigest(digest, length) {
  const bytes = await get(`/v1/objects/${digest}`);
  check("an object has its digest", sha256(bytes) === digest);
  check("an object has its length", length === undefined || bytes.length === length);
  return JSON.parse(text.decode(bytes));
}
const objects = [];
for (const [number, digest] of manifest.shards.entries()) {
  const shard = await byDigest(digest);
  check("a shard stands in its place", shard.shard === number);
  for (const entry of shard.objects) {
    check("a project hashes into its shard", createHash("sha256").update(idBytes(entry.project)).digest()[0] === number);
    if (entry.kind === "tombstone") continue;
    const object = await byDigest(entry.sha256, entry.length);
    for (const member of ["kind", "org", "project", "version"]) check(`${member} is the entry's`, object[member] === entry[member]);
    objects.push(object);
  }
}

// --- the fleet key, the projects' delivery keys, the secrets ---

const keyring = await verified(text.decode(await get("/v1/snapshot/keyring")), "reeve-keyring+jws");
check("the keyring is ours", keyring.data_plane === dataPlane && keyring.generation === manifest.generation);
const { plaintext: fleetKey } = await jose.compactDecrypt(keyring.jwe, await privateKey(identity.encrypt, "ECDH-ES"), {
  keyManagementAlgorithms: ["ECDH-ES"], contentEncryptionAlgorithms: ["A256GCM"],
});
check("the fleet key has 32 bytes", fleetKey.length === 32);

const secrets = [];
for (const object of objects.filter(({ kind }) => kind === "secrets")) {
  const info = Buffer.concat([Buffer.from("reeve-delivery-1"), idBytes(object.org), idBytes(object.project)]);
  const key = new Uint8Array(hkdfSync("sha256", fleetKey, Buffer.alloc(0), info, 32));
  for (const secret of object.secrets) {
    for (const version of secret.versions.filter(({ state }) => state === "active")) {
      const { plaintext, protectedHeader: header } = await jose.compactDecrypt(version.jwe, key, {
        keyManagementAlgorithms: ["dir"], contentEncryptionAlgorithms: ["A256GCM"],
      });
      check("the header is of its place", header.org === object.org && header.project === object.project &&
        header.secret === secret.id && header.version === version.version && header.fleet === manifest.fleet &&
        header.generation === manifest.generation && header.typ === "reeve-secret+jwe");
      secrets.push({ id: secret.id, version: version.version, origin: header.origin,
        sha256: createHash("sha256").update(plaintext).digest("hex") });
    }
  }
}
console.log(JSON.stringify({ seq: manifest.seq, projects: new Set(objects.map(({ project }) => project)).size, secrets }));
