//! Public keys as they are kept and sent: text of base64. Private keys have no type here, so none can be kept.

use std::fmt;
use std::str::FromStr;

use adit_wireguard::{KeyError, PublicKey};
use serde::{Deserialize, Serialize};

/// The Ed25519 public key by which a server knows a device over HTTPS (RFC 8032 §5.1.5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpsKey([u8; 32]);

impl HttpsKey {
    /// Takes 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for HttpsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&PublicKey::new(self.0), f)
    }
}

impl fmt::Debug for HttpsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpsKey({self})")
    }
}

impl FromStr for HttpsKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(Self(*PublicKey::from_base64(text)?.as_bytes()))
    }
}

impl TryFrom<String> for HttpsKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<HttpsKey> for String {
    fn from(key: HttpsKey) -> Self {
        key.to_string()
    }
}

/// A WireGuard public key as text, for `#[serde(with = "…")]`.
pub(crate) mod text {
    use super::PublicKey;
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(key)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        PublicKey::from_base64(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_as_text() {
        let key = HttpsKey::new([9; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("short".parse::<HttpsKey>(), Err(KeyError::Base64));
        assert_eq!(serde_json::from_str::<HttpsKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
    }
}
