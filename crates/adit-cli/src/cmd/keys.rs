//! `adit genkey`, `adit genpsk`, `adit pubkey`: the same bytes in and out as `wg` has them.

use std::io::{self, IsTerminal as _, Read as _};

use adit::https::HttpsKey;
use adit_wireguard::{PresharedKey, PrivateKey};
use zeroize::Zeroizing;

use crate::args::PubkeyArgs;
use crate::exit::{Exit, Failure, Result};
use crate::render;

/// Writes a new private key.
pub(super) fn genkey() -> Result<Exit> {
    warn_if_exposed();
    show(PrivateKey::new(random()?).to_base64());
    Ok(Exit::Done)
}

/// Writes a new pre-shared key.
pub(super) fn genpsk() -> Result<Exit> {
    warn_if_exposed();
    show(PresharedKey::new(random()?).to_base64());
    Ok(Exit::Done)
}

/// Reads a private key, writes its public key.
pub(super) fn pubkey(args: &PubkeyArgs) -> Result<Exit> {
    if io::stdin().is_terminal() {
        render::note("paste the private key, then press Enter and Ctrl-D");
    }
    let mut text = Zeroizing::new(String::new());
    io::stdin()
        .take(MAX_INPUT)
        .read_to_string(&mut text)
        .map_err(|e| Failure::failed(format!("cannot read a key from standard input: {e}")))?;
    let key = private_key(&text)?;
    render::line(&if args.https { https_key(&key)? } else { key.public_key().to_string() });
    Ok(Exit::Done)
}

/// Much more than a key with its newline.
const MAX_INPUT: u64 = 4096;

fn https_key(key: &PrivateKey) -> Result<String> {
    let none = || Failure::failed("a key of zeros stands for no key: it has no HTTPS key");
    Ok(HttpsKey::of(key).ok_or_else(none)?.to_string())
}

fn private_key(text: &str) -> Result<PrivateKey> {
    let key = text.trim_end();
    let wrong = || {
        Failure::failed("standard input is not a private key")
            .hint("a key is 44 characters of base64, as `adit genkey` writes it")
    };
    if key.len() > 44 && key.get(..44).is_some_and(|k| PrivateKey::from_base64(k).is_ok()) {
        return Err(Failure::failed("there is more than one key on standard input"));
    }
    PrivateKey::from_base64(key).map_err(|_| wrong())
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| Failure::failed(format!("the system gives no random numbers: {e}")))?;
    Ok(bytes)
}

fn show(key: String) {
    render::line(&Zeroizing::new(key));
}

/// As `wg` does: a key in a file that others may read is no secret.
fn warn_if_exposed() {
    let exposed = rustix::fs::fstat(io::stdout()).is_ok_and(|stat| is_exposed(stat.st_mode));
    if exposed {
        render::warning(
            "everybody on this machine may read the file this key is written to\n  hint: set `umask 077` and try again",
        );
    }
}

fn is_exposed(mode: u32) -> bool {
    let regular = rustix::fs::FileType::from_raw_mode(mode).is_file();
    regular && mode & 0o007 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = "mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=";
    const PUBLIC: &str = "ugViDinrHVDhkpj9GJV9FBbxC39S5yL8NV5FvcVGwEE=";

    #[test]
    fn a_public_key_is_the_one_wg_gives_with_or_without_newlines() {
        for text in [PRIVATE.to_owned(), format!("{PRIVATE}\n"), format!("{PRIVATE}\n\n  \n")] {
            assert_eq!(private_key(&text).unwrap().public_key().to_string(), PUBLIC);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for text in ["", "abc", &format!("{PRIVATE}\nextra"), &format!(" {PRIVATE}")] {
            let failure = private_key(text).unwrap_err();
            assert_eq!(failure.kind, Exit::Failed, "{text:?}");
            assert!(!failure.to_string().contains("mIFc"), "{failure}");
        }
    }

    #[test]
    fn only_a_file_that_others_may_touch_is_exposed() {
        assert!(is_exposed(0o100_644));
        assert!(!is_exposed(0o100_640));
        assert!(!is_exposed(0o100_600));
        assert!(!is_exposed(0o020_666), "a terminal");
    }
}
