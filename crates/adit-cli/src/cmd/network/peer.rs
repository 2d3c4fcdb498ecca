//! `adit peer`.

use adit::openvpn::network::DeviceKey;
use adit_wireguard::PrivateKey;
use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use super::{ask, invite, now};
use crate::args::network::{LimitArgs, PeerArgs, PeerCommand, Per, Then, duration};
use crate::args::units;
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, Style};
use crate::server::api::{Admitted, Ask, PeerChange, PeerRow};

/// Shows or changes one.
pub(crate) fn run(command: &PeerCommand) -> Result<Exit> {
    match command {
        PeerCommand::Show(args) => show(args),
        PeerCommand::Rename { name, new } => {
            let renamed = PeerChange::Rename { to: new.clone() };
            change(name, renamed, &format!("{name} is called {new} now."))
        }
        PeerCommand::Limit(args) => limit(args),
        PeerCommand::Expire { name, when } => expire(name, when),
        PeerCommand::Disable(args) => {
            let said = format!("{} is cut off. `adit peer enable {}` lets it in again.", args.name, args.name);
            report(args, PeerChange::Disable, &said)
        }
        PeerCommand::Enable(args) => report(args, PeerChange::Enable, &format!("{} is let in again.", args.name)),
        PeerCommand::Rotate(args) => rotate(args),
        PeerCommand::Groups { name, groups } => {
            let said = match groups.as_slice() {
                [] => format!("{name} is in no group now."),
                groups => format!("{name} is in {} now.", groups.join(", ")),
            };
            change(name, PeerChange::Groups { groups: groups.clone() }, &said)
        }
        PeerCommand::Remove(args) => report(args, PeerChange::Remove, &format!("{} is removed.", args.name)),
    }
}

fn show(args: &PeerArgs) -> Result<Exit> {
    let peers: Vec<PeerRow> = ask(Ask::Peers)?;
    let peer = find(&peers, &args.name)?;
    if args.json {
        render::json(peer);
    } else {
        render::print(&render::network::peer(peer, now(), Style::of_stdout()));
    }
    Ok(Exit::Done)
}

/// The device of this name, which case does not change.
fn find<'a>(peers: &'a [PeerRow], name: &str) -> Result<&'a PeerRow> {
    let folded = name.to_lowercase();
    peers.iter().find(|peer| peer.name.to_lowercase() == folded).ok_or_else(|| unknown(name, peers))
}

fn unknown(name: &str, peers: &[PeerRow]) -> Failure {
    let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).take(20).collect();
    let known =
        if names.is_empty() { "there is none yet: `adit invite` invites one".to_owned() } else { names.join(", ") };
    Failure::usage(format!("there is no device called `{name}`")).hint(format!("known: {known}"))
}

fn limit(args: &LimitArgs) -> Result<Exit> {
    let rate = |text: &Option<String>| text.as_deref().map(units::rate).transpose().map_err(Failure::usage);
    let (down, up) = (rate(&args.down)?, rate(&args.up)?);
    let quota = args.quota.as_deref().map(units::bytes).transpose().map_err(Failure::usage)?;
    if down.is_some() || up.is_some() {
        let () = ask(Ask::Change { name: args.name.clone(), change: PeerChange::Rate { down, up } })?;
    }
    if let Some(bytes) = quota {
        let per = match args.per {
            Per::Day => "day",
            Per::Month => "month",
            Per::Total => "total",
        };
        let then = match args.then {
            Then::Slow => "slow",
            Then::Block => "block",
            Then::Notify => "notify",
        };
        let quota = PeerChange::Quota { bytes, per: per.to_owned(), then: then.to_owned() };
        let () = ask(Ask::Change { name: args.name.clone(), change: quota })?;
    }
    show(&PeerArgs { name: args.name.clone(), json: false })
}

fn expire(name: &str, when: &str) -> Result<Exit> {
    if when == "never" {
        return change(name, PeerChange::Expire { seconds: None }, &format!("{name} stays until it is removed."));
    }
    let time = duration(when).map_err(|why| Failure::usage(format!("`{when}`: {why}, or `never`")))?;
    let ends = PeerChange::Expire { seconds: Some(time.as_secs()) };
    change(name, ends, &format!("{name} ends in {when}."))
}

/// A WireGuard app, or an OpenVPN client, gets a new configuration. A device with adit makes its keys itself, so it is invited anew.
fn rotate(args: &PeerArgs) -> Result<Exit> {
    let peers: Vec<PeerRow> = ask(Ask::Peers)?;
    let peer = find(&peers, &args.name)?;
    if peer.kind == "openvpn" {
        return rotate_openvpn(args);
    }
    if peer.kind != "wireguard" {
        return Err(Failure::usage(format!("{} makes its own key, which only it can change", args.name))
            .hint(format!("remove it and invite it anew: adit peer remove {0} && adit invite {0}", args.name)));
    }
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| Failure::failed(format!("no random numbers for a key: {e}")))?;
    let key = PrivateKey::new(*bytes);
    let rotated = PeerChange::Rotate { public_key: key.public_key().to_string() };
    let admitted: Admitted = ask(Ask::Change { name: args.name.clone(), change: rotated })?;
    let profile = invite::with_key(admitted.profile.expose(), &key);
    if args.json {
        render::json(&invite::ForAnApp { name: &admitted.name, profile: Some(&profile) });
    } else {
        render::print(&render::network::wireguard(&admitted.name, &profile, Style::of_stdout()));
    }
    Ok(Exit::Done)
}

fn rotate_openvpn(args: &PeerArgs) -> Result<Exit> {
    let key = DeviceKey::generate().map_err(Failure::failed)?;
    let rotated = PeerChange::Rotate { public_key: Base64::encode_string(&key.public()) };
    let admitted: Admitted = ask(Ask::Change { name: args.name.clone(), change: rotated })?;
    invite::show_openvpn(&admitted, &key, None, args.json)
}

fn report(args: &PeerArgs, what: PeerChange, said: &str) -> Result<Exit> {
    let () = ask(Ask::Change { name: args.name.clone(), change: what })?;
    if args.json {
        render::json(&serde_json::json!({ "name": args.name, "done": true }));
    } else {
        render::line(said);
    }
    Ok(Exit::Done)
}

fn change(name: &str, what: PeerChange, said: &str) -> Result<Exit> {
    let () = ask(Ask::Change { name: name.to_owned(), change: what })?;
    render::line(said);
    Ok(Exit::Done)
}
