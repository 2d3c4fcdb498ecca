//! The `adit` command: reads the line, does what it says, ends with a code.
//!
//! The map: `args` what can be said, `cmd` what it does, `daemon` the process that owns tunnels, `server` the one
//! that decides about a network, `web` the one that serves a web site, `confine` what these two give up, `doctor` what is wrong with either, `rpc` and `socket` what they say
//! to each other, `render` how it looks (and the only place that prints), `exit` how it ends.

mod args;
mod client;
mod cmd;
mod confine;
mod daemon;
mod demo;
mod doctor;
mod exit;
mod members;
mod memory;
mod name;
mod ping;
mod places;
mod process;
mod profiles;
mod qr;
mod render;
mod report;
mod rpc;
mod secret;
mod server;
mod socket;
mod tunnel;
mod web;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::exit::Exit;

fn main() -> ExitCode {
    memory::give_back();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way too, with code 0; mistakes with 2.
        Err(e) => {
            let code = u8::try_from(e.exit_code()).unwrap_or(Exit::Usage.code());
            render::clap(&e);
            return code.into();
        }
    };
    let exit = cmd::run(cli.command).unwrap_or_else(|failure| {
        render::failure(&failure);
        failure.kind
    });
    exit.code().into()
}
