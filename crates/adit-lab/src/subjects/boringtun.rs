//! boringtun-cli, Cloudflare's, from crates.io.

use super::{Subject, peer};

pub(super) fn subject() -> Option<Subject> {
    let program = peer("boringtun-cli")?;
    let arguments = vec!["-f".into(), "--disable-drop-privileges".into()];
    Some(Subject { name: "boringtun", program, arguments, environment: vec![] })
}
