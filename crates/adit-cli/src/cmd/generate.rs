//! Completions and manual pages, from the definition that also reads the command line.

use std::path::Path;

use clap::CommandFactory as _;

use crate::args::Cli;
use crate::exit::{Exit, Failure, Result};
use crate::render;

/// Writes the completions of a shell to standard output.
pub(super) fn completions(shell: clap_complete::Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "adit", &mut text);
    render::print(&String::from_utf8_lossy(&text));
    Exit::Done
}

/// Writes `adit.1` and a page for each command into a directory.
pub(super) fn man(directory: &Path) -> Result<Exit> {
    std::fs::create_dir_all(directory)
        .map_err(|e| Failure::io(format!("cannot create {}", directory.display()), &e))?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
        .map_err(|e| Failure::io(format!("cannot write into {}", directory.display()), &e))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_command_has_a_page() {
        let directory = std::env::temp_dir().join(format!("adit-man-{}", std::process::id()));
        man(&directory).unwrap();
        let mut pages: Vec<_> =
            directory.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        pages.sort();
        let up = std::fs::read_to_string(directory.join("adit-up.1")).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(
            pages,
            [
                "adit-check.1",
                "adit-daemon.1",
                "adit-demo.1",
                "adit-doctor.1",
                "adit-down.1",
                "adit-examine.1",
                "adit-genkey.1",
                "adit-genpsk.1",
                "adit-import.1",
                "adit-invite.1",
                "adit-join.1",
                "adit-peer-disable.1",
                "adit-peer-enable.1",
                "adit-peer-expire.1",
                "adit-peer-groups.1",
                "adit-peer-limit.1",
                "adit-peer-remove.1",
                "adit-peer-rename.1",
                "adit-peer-rotate.1",
                "adit-peer-show.1",
                "adit-peer.1",
                "adit-peers.1",
                "adit-policy-apply.1",
                "adit-policy-check.1",
                "adit-policy-show.1",
                "adit-policy-test.1",
                "adit-policy.1",
                "adit-pubkey.1",
                "adit-reload.1",
                "adit-server-backup.1",
                "adit-server-log.1",
                "adit-server-restore.1",
                "adit-server-status.1",
                "adit-server-up.1",
                "adit-server.1",
                "adit-status.1",
                "adit-up.1",
                "adit-version.1",
                "adit.1"
            ]
        );
        assert!(up.contains("dry\\-run"), "{up}");
    }
}
