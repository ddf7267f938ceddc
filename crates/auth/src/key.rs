//! Keys, each bound to the one algorithm that it verifies (RFC 8725 §3.1): a token does not choose.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// A key that verifies tokens.
#[derive(Clone)]
pub struct Key {
    pub(crate) algorithm: Algorithm,
    pub(crate) decoding: DecodingKey,
    /// Only a shared secret can sign as well.
    pub(crate) encoding: Option<EncodingKey>,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError(pub String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

/// Never shows the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.algorithm)
    }
}

/// HS256 needs a key at least as long as its hash (RFC 7518 §3.2), in bytes.
const HS256_BYTES_MIN: usize = 32;

impl Key {
    /// From configuration: a PEM public key is RS256, anything else a shared secret for HS256.
    pub fn from_config(text: &str) -> Result<Key, KeyError> {
        if text.trim_start().starts_with("-----BEGIN") {
            Key::rs256(text)
        } else {
            Key::hs256(text.as_bytes())
        }
    }

    /// A shared secret of at least 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Key, KeyError> {
        if secret.len() < HS256_BYTES_MIN {
            return Err(KeyError(format!(
                "the secret has {} bytes and HS256 needs at least {HS256_BYTES_MIN} (RFC 7518 §3.2); make one with: openssl rand -base64 48",
                secret.len()
            )));
        }
        Ok(Key {
            algorithm: Algorithm::HS256,
            decoding: DecodingKey::from_secret(secret),
            encoding: Some(EncodingKey::from_secret(secret)),
        })
    }

    /// A public key in PEM; a private one is refused, since nothing here needs it.
    pub fn rs256(pem: &str) -> Result<Key, KeyError> {
        if pem.contains("PRIVATE KEY") {
            return Err(KeyError(
                "this is a private key; tokens are verified with the public one (openssl rsa -pubout)".to_owned(),
            ));
        }
        let decoding = DecodingKey::from_rsa_pem(pem.as_bytes())
            .map_err(|e| KeyError(format!("not an RSA public key in PEM: {e}")))?;
        Ok(Key {
            algorithm: Algorithm::RS256,
            decoding,
            encoding: None,
        })
    }
}

/// The file in the state directory that holds the development key.
pub const DEVELOPMENT_KEY_FILE: &str = "development.key";

/// The development key in a project's state directory, made at first use with mode 0600.
pub fn development_key(state: &Path) -> io::Result<Key> {
    let path = state.join(DEVELOPMENT_KEY_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(state)?;
            let mut random = [0u8; 48];
            getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
            let text: String = random.iter().map(|b| format!("{b:02x}")).collect();
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            match options.open(&path) {
                Ok(mut file) => {
                    file.write_all(text.as_bytes())?;
                    file.sync_all()?;
                    text
                }
                // Another process was quicker; its key is the key.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => std::fs::read_to_string(&path)?,
                Err(e) => return Err(e),
            }
        }
        Err(e) => return Err(e),
    };
    Key::hs256(text.trim().as_bytes()).map_err(|e| io::Error::other(format!("{}: {e}", path.display())))
}
