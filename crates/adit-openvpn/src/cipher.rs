//! The algorithms that configurations name: ciphers of the data channel, digests of MACs; and which cipher two ends take.
//!
//! Not here: computing with them (`data`, `mac`).

use std::fmt;

/// A cipher of the data channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-128 in Galois/counter mode.
    Aes128Gcm,
    /// AES-192 in Galois/counter mode.
    Aes192Gcm,
    /// AES-256 in Galois/counter mode.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
    /// AES-128 in cipher block chaining, with an HMAC beside it: for old peers.
    Aes128Cbc,
    /// AES-192 in cipher block chaining, with an HMAC beside it: for old peers.
    Aes192Cbc,
    /// AES-256 in cipher block chaining, with an HMAC beside it: for old peers.
    Aes256Cbc,
}

impl Cipher {
    /// All of them, those we would rather use first.
    pub const ALL: [Self; 7] = [
        Self::Aes256Gcm,
        Self::Aes128Gcm,
        Self::ChaCha20Poly1305,
        Self::Aes192Gcm,
        Self::Aes256Cbc,
        Self::Aes192Cbc,
        Self::Aes128Cbc,
    ];

    /// What is offered where a configuration names nothing (`data-ciphers`).
    pub const DEFAULT: [Self; 3] = [Self::Aes256Gcm, Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// The name in configurations and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes192Gcm => "AES-192-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "CHACHA20-POLY1305",
            Self::Aes128Cbc => "AES-128-CBC",
            Self::Aes192Cbc => "AES-192-CBC",
            Self::Aes256Cbc => "AES-256-CBC",
        }
    }

    /// The cipher of this name, in upper or lower case; `None` for one we do not have.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of its key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Cbc => 16,
            Self::Aes192Gcm | Self::Aes192Cbc => 24,
            Self::Aes256Gcm | Self::Aes256Cbc | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Whether it authenticates by itself; the others need a [`Digest`].
    pub const fn is_aead(self) -> bool {
        match self {
            Self::Aes128Gcm | Self::Aes192Gcm | Self::Aes256Gcm | Self::ChaCha20Poly1305 => true,
            Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc => false,
        }
    }

    /// The first of `ours` that is also in `theirs`, a list of names with colons between them: what a server pushes.
    pub fn choose(ours: &[Self], theirs: &str) -> Option<Self> {
        ours.iter().copied().find(|cipher| theirs.split(':').any(|name| Self::from_name(name) == Some(*cipher)))
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The hash of an HMAC (`auth`): of `tls-auth`, and of the data channel where the cipher does not authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Digest {
    /// SHA-1, OpenVPN's default. As an HMAC it is not broken.
    #[default]
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    /// The digest of this name, in any case, with or without a hyphen or `RSA-` before it; `None` for one we do not have.
    pub fn from_name(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let plain = upper.strip_prefix("RSA-").unwrap_or(&upper).replace("SHA-", "SHA");
        Self::ALL.into_iter().find(|digest| digest.name() == plain)
    }

    /// Bytes of its output, and of the key that HMAC takes here.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_found_by_its_name_in_any_case() {
        for cipher in Cipher::ALL {
            assert_eq!(Cipher::from_name(cipher.name()), Some(cipher));
            assert_eq!(Cipher::from_name(&cipher.name().to_ascii_lowercase()), Some(cipher));
        }
        for digest in Digest::ALL {
            assert_eq!(Digest::from_name(digest.name()), Some(digest));
        }
        assert_eq!(Digest::from_name("RSA-SHA256"), Some(Digest::Sha256));
        assert_eq!(Digest::from_name("sha-512"), Some(Digest::Sha512));
        assert_eq!((Cipher::from_name("BF-CBC"), Digest::from_name("none")), (None, None));
    }

    #[test]
    fn a_server_takes_its_own_first_that_the_client_has_too() {
        let offered = "CHACHA20-POLY1305:AES-128-GCM:BF-CBC";
        assert_eq!(Cipher::choose(&Cipher::DEFAULT, offered), Some(Cipher::Aes128Gcm));
        assert_eq!(
            Cipher::choose(&[Cipher::ChaCha20Poly1305, Cipher::Aes128Gcm], offered),
            Some(Cipher::ChaCha20Poly1305)
        );
        assert_eq!(Cipher::choose(&[Cipher::Aes256Gcm], offered), None);
        assert_eq!(Cipher::choose(&Cipher::DEFAULT, ""), None);
    }
}
