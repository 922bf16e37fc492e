-- What data planes read, through functions that look at the fleet of the credential.

-- name: snapshot_newest
-- roles: api
-- The newest manifest of the caller's fleet; its text when it is newer.
select seq, digest, jws from snapshot_poll(:after_number) where seq is not null;

-- name: snapshot_bytes
-- roles: api
-- An object or shard the caller's fleet may see.
select body from (select snapshot_bytes(:digest) as body) b where body is not null;

-- name: snapshot_keyring_ask
-- roles: api
-- What the keeper needs for the caller's keyring.
select fleet, generation, kms_uri, wrapped, cert, request from snapshot_keyring_ask() where fleet is not null;

-- name: snapshot_ack
-- roles: api
-- What the caller verified, activated or refused.
select snapshot_ack(:seq, :state, :code, :detail, :pointer)::text as nothing;

-- name: snapshot_heads
-- roles: api
-- Every fleet's newest number.
select fleet, seq from snapshot_heads();

-- name: snapshot_manifest
-- roles: api
-- A manifest by its number, for every data plane of the fleet that waits for it.
select jws from (select snapshot_manifest(:fleet, :seq) as jws) m where jws is not null;

-- name: snapshot_revoked
-- roles: api
-- Who was revoked lately.
select id as data_plane from snapshot_revoked() as id;
