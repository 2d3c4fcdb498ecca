//! Our own `adit-wireguard`, as built beside the program that asks, or in `ADIT_BIN_DIR`.

use super::{Subject, beside_this_program};

#[track_caller]
pub(super) fn subject() -> Subject {
    Subject {
        name: "adit",
        program: beside_this_program("adit-wireguard"),
        arguments: vec!["-f".into()],
        environment: vec![],
    }
}
