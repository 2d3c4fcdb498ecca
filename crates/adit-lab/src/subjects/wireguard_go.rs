//! wireguard-go, the reference in Go.

use super::{Subject, peer};

pub(super) fn subject() -> Option<Subject> {
    let program = peer("wireguard-go")?;
    // It asks for this variable before it agrees to run where a kernel module could be.
    let environment = vec![("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1".into()), ("LOG_LEVEL", "error".into())];
    Some(Subject { name: "wireguard-go", program, arguments: vec!["-f".into()], environment })
}
