//! The users of a new database. They are for demonstrations: this file makes their tokens public.

use argon2::password_hash::generate_salt;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use sqlx::SqlitePool;

use super::user::TokenHash;

const NAME: &str = "demonstration users";

struct Seed {
    username: &'static str,
    password: &'static str,
    token: &'static str,
}

const USERS: [Seed; 5] = [
    Seed {
        username: "density",
        password: "devops",
        token: "mytoken",
    },
    Seed {
        username: "ada",
        password: "analytical engine",
        token: "adas-token",
    },
    Seed {
        username: "edsger",
        password: "structured programs",
        token: "edsgers-token",
    },
    Seed {
        username: "grace",
        password: "nanosecond of wire",
        token: "graces-token",
    },
    Seed {
        username: "margaret",
        password: "priority displays",
        token: "margarets-token",
    },
];

/// Inserts the users in one transaction, once per database. Returns the number of users inserted.
pub(super) async fn run(pool: &SqlitePool) -> Result<usize, sqlx::Error> {
    if is_done(pool).await? {
        return Ok(0);
    }
    // Hashes before the transaction, because hashing is slow and the transaction locks the database.
    let hashes = tokio::task::spawn_blocking(|| hashes(USERS.map(|user| user.password)))
        .await
        .map_err(|error| sqlx::Error::Configuration(error.into()))?;
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let claimed = sqlx::query("INSERT INTO seeds (name) VALUES (?) ON CONFLICT DO NOTHING")
        .bind(NAME)
        .execute(&mut *transaction)
        .await?;
    if claimed.rows_affected() == 0 {
        // Another process inserted the users.
        return Ok(0);
    }
    for (user, password_hash) in USERS.iter().zip(hashes) {
        sqlx::query("INSERT INTO users (username, password_hash, token_hash) VALUES (?, ?, ?)")
            .bind(user.username)
            .bind(password_hash)
            .bind(TokenHash::of(user.token.as_bytes()).as_bytes())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(USERS.len())
}

async fn is_done(pool: &SqlitePool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM seeds WHERE name = ?)")
        .bind(NAME)
        .fetch_one(pool)
        .await
}

/// Hashes passwords with Argon2id: 7 MiB, 5 passes, 1 lane. Of the equivalent settings in OWASP's Password Storage Cheat
/// Sheet, this one needs the least memory. The memory limit of the pod is small.
///
/// All passwords share one block of memory, which is returned to the system at the end. The allocator would keep smaller
/// allocations until the process exits.
fn hashes<const N: usize>(passwords: [&str; N]) -> [String; N] {
    let parameters = Params::new(7 * 1024, 5, 1, None).expect("the parameters are within Argon2's bounds");
    let mut memory = vec![Block::default(); parameters.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    passwords.map(|password| hash(&argon2, &mut memory, password))
}

/// Returns the hash of a password in the PHC string format.
fn hash(argon2: &Argon2, memory: &mut [Block], password: &str) -> String {
    const VALID: &str = "the lengths of salt, output and parameters are valid";
    let salt = generate_salt();
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    argon2
        .hash_password_into_with_memory(password.as_bytes(), &salt, &mut output, memory)
        .expect(VALID);
    PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params()).expect(VALID),
        salt: Some(Salt::new(&salt).expect(VALID)),
        hash: Some(Output::new(&output).expect(VALID)),
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    #[test]
    fn a_hash_verifies_and_is_salted() {
        let [first, second] = hashes(["devops", "devops"]);
        assert!(first.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{first}");
        assert_ne!(first, second);
        assert!(
            Argon2::default()
                .verify_password(b"devops", first.as_str())
                .is_ok()
        );
        assert!(
            Argon2::default()
                .verify_password(b"other", first.as_str())
                .is_err()
        );
    }
}
