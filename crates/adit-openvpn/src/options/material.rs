//! Keys, certificates and passwords as a configuration has them: in the file itself, or the name of another file.
//!
//! Not here: reading files (whoever has a disk), what is in them (the core).

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Text that may be a secret: wiped when dropped, compared in constant time, never printed. Copies share the bytes.
#[derive(Clone)]
pub struct SecretText(Arc<Zeroizing<String>>);

impl SecretText {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The text, for the few places that read it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Where a key, a certificate or a password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// In the configuration itself, between `<option>` and `</option>`.
    Inline(SecretText),
    /// In a file of this name. A relative name counts from [`base`](super::Common::base), else from where the configuration is.
    File(String),
}
