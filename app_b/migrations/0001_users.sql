-- The users. Neither a token nor a password is stored in the clear.
CREATE TABLE users (
    id            INTEGER PRIMARY KEY,
    -- 'fail' is the answer for a token that nobody has, so nobody can be called that.
    username      TEXT NOT NULL UNIQUE CHECK (username <> 'fail' AND username NOT GLOB '*[^a-z0-9._-]*' AND username <> ''),
    -- Argon2id in the PHC string format.
    password_hash TEXT NOT NULL,
    -- SHA-256. A token is random and long, so it needs no slow hash, and can be looked up.
    token_hash    BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32)
) STRICT;

-- Which seeds are in, so that a user who was removed does not come back with the next start.
CREATE TABLE seeds (
    name       TEXT PRIMARY KEY,
    seeded_at  TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;
