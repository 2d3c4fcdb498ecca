//! gotatun-cli, Mullvad's, from crates.io.

use super::{Subject, peer};

pub(super) fn subject() -> Option<Subject> {
    let program = peer("gotatun-cli").or_else(|| peer("gotatun"))?;
    let arguments = vec!["-f".into(), "--disable-drop-privileges".into(), "-v".into(), "error".into()];
    Some(Subject { name: "gotatun", program, arguments, environment: vec![] })
}
