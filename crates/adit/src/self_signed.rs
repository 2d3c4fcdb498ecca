//! A certificate of our own whose key stays the same, so that its pin does: made when it is first needed.
//!
//! Not here: certificates that others vouch for (`adit-transport`).

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use zeroize::Zeroizing;

/// The files of a certificate for these names, and of its key, in this directory.
///
/// # Errors
/// The directory cannot be written, or the key that is there cannot be read.
pub(crate) fn files(directory: &Path, names: &[String]) -> io::Result<(PathBuf, PathBuf)> {
    let (chain, key) = (directory.join("self-signed.pem"), directory.join("self-signed.key"));
    fs::create_dir_all(directory)?;
    let pair = match fs::read_to_string(&key).map(Zeroizing::new) {
        Ok(text) => KeyPair::from_pem(&text).map_err(io::Error::other)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pair = KeyPair::generate().map_err(io::Error::other)?;
            write(&key, &Zeroizing::new(pair.serialize_pem()))?;
            pair
        }
        Err(error) => return Err(error),
    };
    let certificate = CertificateParams::new(names).and_then(|params| params.self_signed(&pair));
    write(&chain, &certificate.map_err(io::Error::other)?.pem())?;
    Ok((chain, key))
}

/// Replaces a file in one step, readable by nobody but its owner.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let _leftover = fs::remove_file(&new);
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_when_the_names_change() {
        let directory = std::env::temp_dir().join(format!("adit-self-signed-{}", std::process::id()));
        let read = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let (chain, key) = files(&directory, &names).unwrap();
            (fs::read_to_string(chain).unwrap(), fs::read_to_string(key).unwrap())
        };
        let (first, second) = (read(&["a.example"]), read(&["a.example", "b.example"]));
        assert_eq!(first.1, second.1);
        assert_ne!(first.0, second.0);
        fs::remove_dir_all(directory).unwrap();
    }
}
