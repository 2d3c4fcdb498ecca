//! `adit invite`.

use std::path::Path;

use adit_wireguard::PrivateKey;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{ask, now};
use crate::args::network::{For, InviteArgs};
use crate::exit::{Exit, Failure, Result};
use crate::qr;
use crate::render::{self, Style};
use crate::server::api::{Admitted, Ask, InviteRow, NewInvite};

/// Makes one, lists them, or closes one.
pub(crate) fn run(args: &InviteArgs) -> Result<Exit> {
    if let Some(invite) = args.revoke {
        let () = ask(Ask::Revoke { invite })?;
        render::line(&format!(
            "Invite {invite} is closed. Devices that came by it stay: `adit peer disable` cuts one off."
        ));
        return Ok(Exit::Done);
    }
    if args.list {
        return list(args.json);
    }
    match args.kind {
        For::Adit => of_adit(args),
        For::Wireguard => of_wireguard(args),
    }
}

fn list(as_json: bool) -> Result<Exit> {
    let invites: Vec<InviteRow> = ask(Ask::Invites)?;
    if as_json {
        render::json(&invites);
    } else {
        render::print(&render::network::invites(&invites, now(), Style::of_stdout()));
    }
    Ok(Exit::Done)
}

fn of_adit(args: &InviteArgs) -> Result<Exit> {
    let (seconds, groups) = (args.expires.as_secs(), args.group.clone());
    let invite: NewInvite = ask(Ask::Invite { name: args.name.clone(), seconds, uses: args.uses, groups })?;
    if let Some(file) = &args.png {
        write_png(file, &invite.link)?;
    }
    if args.json {
        render::json(&invite);
    } else {
        render::print(&render::network::invite(&invite, now(), Style::of_stdout()));
    }
    Ok(Exit::Done)
}

/// What `--for wireguard --json` says.
#[derive(Serialize)]
struct ForWireguard<'a> {
    name: &'a str,
    profile: &'a str,
}

/// The key is made here and shown once: the server never has it.
fn of_wireguard(args: &InviteArgs) -> Result<Exit> {
    let Some(name) = &args.name else {
        return Err(Failure::usage("a WireGuard app does not say what its device is called, so the invite has to")
            .hint("adit invite NAME --for wireguard"));
    };
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| Failure::failed(format!("no random numbers for a key: {e}")))?;
    let key = PrivateKey::new(*bytes);
    let public_key = key.public_key().to_string();
    let admitted: Admitted = ask(Ask::Admit { name: name.clone(), public_key, groups: args.group.clone() })?;
    let profile = with_key(&admitted.profile, &key);
    if let Some(file) = &args.png {
        write_png(file, &profile)?;
    }
    if args.json {
        render::json(&ForWireguard { name: &admitted.name, profile: &profile });
    } else {
        render::print(&render::network::wireguard(&admitted.name, &profile, Style::of_stdout()));
    }
    Ok(Exit::Done)
}

/// The profile with the key in its first section.
pub(super) fn with_key(profile: &str, key: &PrivateKey) -> Zeroizing<String> {
    let line = Zeroizing::new(format!("[Interface]\nPrivateKey = {}\n", &*Zeroizing::new(key.to_base64())));
    Zeroizing::new(profile.replacen("[Interface]\n", &line, 1))
}

/// A picture of the code, readable by nobody but its owner, for it holds a secret.
pub(super) fn write_png(file: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |e: &std::io::Error| Failure::io(format!("cannot write {}", file.display()), e);
    let picture = qr::png(text).map_err(Failure::failed)?;
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|e| failed(&e))?;
    out.write_all(&picture).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_put_where_wireguard_looks_for_it() {
        let profile = with_key("[Interface]\nAddress = 10.0.0.2/32\n\n[Peer]\n", &PrivateKey::new([1; 32]));
        let parsed = adit::profile::wg_quick::parse(&profile).profile;
        assert_eq!(parsed.interface.private_key.unwrap().public_key(), PrivateKey::new([1; 32]).public_key());
    }
}
