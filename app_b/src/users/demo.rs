//! The demonstration users. Their tokens and passwords are public, because this file contains them.

use crate::store::{TokenHash, UserRecord};

struct DemoUser {
    name: &'static str,
    token: &'static str,
    /// Argon2id with 7 MiB, 5 passes and 1 lane, one of the settings in OWASP's Password Storage Cheat Sheet. It is
    /// precomputed, because password hashing is slow by design and would delay each first start.
    password_hash: &'static str,
}

const USERS: [DemoUser; 5] = [
    DemoUser {
        name: "density",
        token: "mytoken",
        password_hash: "$argon2id$v=19$m=7168,t=5,p=1$nDHyKPkk0QGF54t25kYg/g$rxtZOewVFNe/kSzcTXyzopk6SyehrUSZbkjM/hrlDzA",
    },
    DemoUser {
        name: "ada",
        token: "adas-token",
        password_hash: "$argon2id$v=19$m=7168,t=5,p=1$59aGxhWZAmFfQ3ReRokBaQ$cWTqdlwojrlMEtPLtApMPe7zWSBl81240vtHVMwv3tQ",
    },
    DemoUser {
        name: "edsger",
        token: "edsgers-token",
        password_hash: "$argon2id$v=19$m=7168,t=5,p=1$V83yOSklTjy2FqwyxpVbLA$+/1wktFRWHA6IqxorVY+hhohyA77hp/nLBGrc/PaMj0",
    },
    DemoUser {
        name: "grace",
        token: "graces-token",
        password_hash: "$argon2id$v=19$m=7168,t=5,p=1$tFU0c29IeKWlI3vzWcrKBA$EwE01eEjM3MB5g4G44OC4gUEQ+wpqZy1UMSIeIFdgog",
    },
    DemoUser {
        name: "margaret",
        token: "margarets-token",
        password_hash: "$argon2id$v=19$m=7168,t=5,p=1$maK82BvEqLuunbGslR7hNg$7rYkMEZP6kfm358dA4lwg4lMsIrjUtuqGgtp+KxPa8Q",
    },
];

/// Returns the demonstration users.
pub(super) fn users() -> Vec<UserRecord> {
    let record = |user: &DemoUser| UserRecord {
        name: user.name.to_owned(),
        token: TokenHash::of(user.token.as_bytes()),
        password_hash: Some(user.password_hash.to_owned()),
    };
    USERS.iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use argon2::Argon2;
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    #[test]
    fn the_hashes_are_those_of_the_passwords() {
        let passwords = [
            "devops",
            "analytical engine",
            "structured programs",
            "nanosecond of wire",
            "priority displays",
        ];
        for (user, password) in USERS.iter().zip(passwords) {
            let verify = |password: &str| {
                Argon2::default()
                    .verify_password(password.as_bytes(), user.password_hash)
                    .is_ok()
            };
            assert!(verify(password), "{}", user.name);
            assert!(!verify("other"), "{}", user.name);
        }
    }
}
