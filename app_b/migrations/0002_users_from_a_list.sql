-- The table is a copy of a list, from a file or of the demonstration users. A user of a file has no password.
CREATE TABLE new_users (
    id            INTEGER PRIMARY KEY,
    -- 'fail' is the answer for a token that nobody has, so nobody can be called that.
    username      TEXT NOT NULL UNIQUE CHECK (username <> 'fail' AND username NOT GLOB '*[^a-z0-9._-]*' AND username <> ''),
    -- Argon2id in the PHC string format.
    password_hash TEXT,
    -- SHA-256. A token is random and long, so it needs no slow hash, and can be looked up.
    token_hash    BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32)
) STRICT;
INSERT INTO new_users SELECT id, username, password_hash, token_hash FROM users;
DROP TABLE users;
ALTER TABLE new_users RENAME TO users;

-- Each start copies the list again, so there is no seed to remember.
DROP TABLE seeds;
