//! Passwords: what is accepted, how one is hashed, and the comparison. Slow by design: only [`crate::hasher`] calls it.

use crate::fault::{Fault, Result};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;

/// A longer password is refused: no person has one, and hashing it would be paid by us. In bytes.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;

/// The OWASP choice with the least memory: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// In bytes.
const SALT_LEN: usize = 16;
const HASH_LEN: usize = 32;

/// Hashes made elsewhere and put into the table may cost up to this much, in KiB and passes.
const MEMORY_KIB_MAX: u32 = 65_536;
const PASSES_MAX: u32 = 10;

/// Refuses what is too short to be a password or too long to be hashed.
pub(crate) fn check(password: &str, chars_min: u32) -> Result<()> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Fault::invalid(format!(
            "Password cannot be longer than {PASSWORD_BYTES_MAX} bytes"
        )));
    }
    if password.chars().count() < chars_min as usize {
        return Err(Fault::weak_password(
            format!("Password should be at least {chars_min} characters."),
            &["length"],
        ));
    }
    Ok(())
}

/// A PHC string (`$argon2id$v=19$…`) with a fresh salt. `memory` is kept between calls to save clearing it.
pub(crate) fn hash(password: &str, memory: &mut Vec<Block>) -> Result<String, String> {
    let mut salt = [0; SALT_LEN];
    getrandom::fill(&mut salt).map_err(|e| e.to_string())?;
    let output = derive(password, &salt, params()?, memory)?;
    Ok(format!(
        "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(output)
    ))
}

/// Whether the password has this hash. Without a hash, or with one that cannot be read, the same work is done and the answer
/// is no, so that nobody learns from the time which it was.
pub(crate) fn verify(password: &str, phc: Option<&str>, memory: &mut Vec<Block>) -> Result<bool, String> {
    if let Some((params, salt, expected)) = phc.and_then(read) {
        let output = derive(password, &salt, params, memory)?;
        return Ok(output.ct_eq(&expected).into());
    }
    if phc.is_some() {
        mainstay_telemetry::warn!(
            "account",
            "a password's hash is not Argon2id within {MEMORY_KIB_MAX} KiB and {PASSES_MAX} passes; its user cannot log in"
        );
    }
    derive(password, &[0; SALT_LEN], params()?, memory)?;
    Ok(false)
}

fn params() -> Result<Params, String> {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_LEN)).map_err(|e| e.to_string())
}

/// A PHC string's parameters, salt and hash, if it is one that we are willing to compute.
fn read(phc: &str) -> Option<(Params, Vec<u8>, Vec<u8>)> {
    let parsed = PasswordHash::new(phc).ok()?;
    let known = parsed.algorithm == argon2::ARGON2ID_IDENT && parsed.version == Some(Version::V0x13.into());
    let params = Params::try_from(&parsed).ok()?;
    let bounded = params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX && params.p_cost() <= 16;
    let (salt, hash) = (parsed.salt?, parsed.hash?);
    (known && bounded).then(|| (params, salt.to_vec(), hash.as_bytes().to_vec()))
}

fn derive(password: &str, salt: &[u8], params: Params, memory: &mut Vec<Block>) -> Result<Vec<u8>, String> {
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    let mut output = vec![0; params.output_len().unwrap_or(HASH_LEN)];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, &mut output, &mut memory[..blocks])
        .map_err(|e| e.to_string())?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_says_how_it_was_made_and_fits_its_password_only() {
        let mut memory = Vec::new();
        let phc = hash("correct horse", &mut memory).expect("hashes");
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_ne!(phc, hash("correct horse", &mut memory).expect("hashes"), "salts differ");
        let mut verify = |password, phc: Option<&str>| super::verify(password, phc, &mut memory).expect("works");
        assert!(verify("correct horse", Some(&phc)));
        assert!(!verify("correct horse ", Some(&phc)));
        assert!(!verify("", Some(&phc)));
        assert!(!verify("correct horse", None));
    }

    #[test]
    fn hashes_made_elsewhere_are_understood_and_unreasonable_ones_refused() {
        let mut memory = Vec::new();
        let mut verify = |phc: &str| super::verify("password", Some(phc), &mut memory).expect("works");
        // The reference implementation's own test vector: 2 passes, 256 KiB, salt "somesalt".
        let reference = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(verify(reference));
        for bad in [
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
            "password",
            "",
        ] {
            assert!(!verify(bad), "{bad}");
        }
    }

    #[test]
    fn length_is_counted_in_characters_and_bounded_in_bytes() {
        for (password, code) in [
            ("1234567".to_owned(), Some("weak_password")),
            ("12345678".to_owned(), None),
            ("äöüßéèêë".to_owned(), None),
            ("äöü".to_owned(), Some("weak_password")),
            ("x".repeat(1024), None),
            ("x".repeat(1025), Some("validation_failed")),
        ] {
            assert_eq!(check(&password, 8).err().map(|f| f.code()), code, "{password}");
        }
    }
}
