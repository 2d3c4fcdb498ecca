//! `adit invite`.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit::openvpn::network::DeviceKey;
use adit_wireguard::PrivateKey;
use base64ct::{Base64, Encoding as _};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{ask, now};
use crate::args::network::{For, InviteArgs};
use crate::exit::{Exit, Failure, Result};
use crate::qr;
use crate::render::{self, Style};
use crate::server::api::{Admitted, Ask, InviteRow, NewInvite};

/// How long an invite is good for.
const USUAL: Duration = Duration::from_secs(24 * 3600);

/// Makes one, lists them, or closes one.
pub(crate) fn run(args: &InviteArgs) -> Result<Exit> {
    if let Some(invite) = args.revoke {
        let () = ask(Ask::Revoke { invite })?;
        if args.json {
            render::json(&serde_json::json!({ "invite": invite, "done": true }));
            return Ok(Exit::Done);
        }
        render::line(&format!(
            "Invite {invite} is closed. Devices that came by it stay: `adit peer disable` cuts one off."
        ));
        return Ok(Exit::Done);
    }
    if args.list {
        return list(args.json);
    }
    if args.out.is_some() && args.kind != For::Openvpn {
        return Err(Failure::usage("--out is for the configuration of an OpenVPN client")
            .hint("adit invite NAME --for openvpn --out FILE.ovpn"));
    }
    match args.kind {
        For::Adit | For::QrPng => of_adit(args),
        For::Wireguard => of_wireguard(args),
        For::Openvpn => of_openvpn(args),
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

/// Where the picture goes that was asked for.
fn picture_file(args: &InviteArgs) -> Option<PathBuf> {
    let by_name = || {
        // A name that is none is refused by the server; until then it leads nowhere else.
        let name = args.name.as_deref().and_then(|name| Path::new(name).file_name()).unwrap_or(OsStr::new("invite"));
        let mut file = name.to_owned();
        file.push(".png");
        PathBuf::from(file)
    };
    args.png.clone().or_else(|| (args.kind == For::QrPng).then(by_name))
}

fn of_adit(args: &InviteArgs) -> Result<Exit> {
    let file = picture_file(args);
    let picture = file.as_deref().map(Kept::begin).transpose()?;
    let (seconds, uses) = (args.expires.unwrap_or(USUAL).as_secs(), args.uses.unwrap_or(1));
    let invite: NewInvite = ask(Ask::Invite { name: args.name.clone(), seconds, uses, groups: args.group.clone() })?;
    // What is made is shown whatever becomes of the picture.
    let drawn = picture.map_or(Ok(()), |picture| draw(picture, invite.link.expose()));
    if args.json {
        render::json(&invite);
    } else {
        render::print(&render::network::invite(&invite, args.name.as_deref(), now(), Style::of_stdout()));
        if let (Ok(()), Some(file)) = (&drawn, &file) {
            render::line(&format!("The code is in {} as a picture, which admits whoever has it.", file.display()));
        }
    }
    drawn.map(|()| Exit::Done)
}

/// What `--for wireguard --json` and `--for openvpn --json` say.
#[derive(Serialize)]
pub(super) struct ForAnApp<'a> {
    pub(super) name: &'a str,
    /// Left out where it is in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<&'a str>,
}

/// The key is made here and shown once: the server never has it.
fn of_wireguard(args: &InviteArgs) -> Result<Exit> {
    let name = name_of_one(args, "WireGuard app", "WireGuard configuration", "wireguard")?;
    let picture = args.png.as_deref().map(Kept::begin).transpose()?;
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| Failure::failed(format!("no random numbers for a key: {e}")))?;
    let key = PrivateKey::new(*bytes);
    let public_key = key.public_key().to_string();
    let admitted: Admitted = ask(Ask::Admit { name, public_key, groups: args.group.clone() })?;
    let profile = with_key(admitted.profile.expose(), &key);
    let drawn = picture.map_or(Ok(()), |picture| draw(picture, &profile));
    if args.json {
        render::json(&ForAnApp { name: &admitted.name, profile: Some(&profile) });
    } else {
        render::print(&render::network::wireguard(&admitted.name, &profile, Style::of_stdout()));
    }
    drawn.map(|()| Exit::Done)
}

/// What the device is called that a configuration is for, and nothing that is for invites alone.
fn name_of_one(args: &InviteArgs, app: &str, configuration: &str, word: &str) -> Result<String> {
    let Some(name) = &args.name else {
        return Err(Failure::usage(format!("a {app} does not say what its device is called, so the invite has to"))
            .hint(format!("adit invite NAME --for {word}")));
    };
    if args.expires.is_some() || args.uses.is_some() {
        return Err(Failure::usage(format!(
            "a {configuration} is no invite: it is good for one device, until that is removed"
        ))
        .hint(format!("leave --expires and --uses out; `adit peer expire {name} 7d` lets the device end")));
    }
    Ok(name.clone())
}

/// As for a WireGuard app: the key is made here, certified by what the server has, and shown once.
fn of_openvpn(args: &InviteArgs) -> Result<Exit> {
    let name = name_of_one(args, "OpenVPN client", "configuration for OpenVPN", "openvpn")?;
    if args.png.is_some() {
        return Err(Failure::usage("a configuration for OpenVPN is too long for a code")
            .hint("leave --png out; --out FILE.ovpn writes it into a file"));
    }
    let file = args.out.as_deref().map(Kept::begin).transpose()?;
    let key = DeviceKey::generate().map_err(Failure::failed)?;
    let public_key = Base64::encode_string(&key.public());
    let admitted: Admitted = ask(Ask::AdmitOpenvpn { name, public_key, groups: args.group.clone() })?;
    show_openvpn(&admitted, &key, file, args.json)
}

/// Shows a configuration with its key, or keeps it in the file that was asked for.
pub(super) fn show_openvpn(
    admitted: &Admitted,
    key: &DeviceKey,
    file: Option<Kept<'_>>,
    as_json: bool,
) -> Result<Exit> {
    let mut configuration = Zeroizing::new(String::with_capacity(2 * admitted.profile.expose().len()));
    for piece in [admitted.profile.expose(), "<key>\n", key.pem().trim_end(), "\n</key>\n"] {
        configuration.push_str(piece);
    }
    let path = file.as_ref().map(|file| file.path);
    let written = file.map_or(Ok(()), |file| file.write(configuration.as_bytes()));
    match (path, &written) {
        // What is made is shown if it cannot be kept.
        (Some(path), Ok(())) if !as_json => {
            let path = path.display();
            render::line(&format!("{} is admitted: {path} is for any OpenVPN client from 2.6 on.", admitted.name));
        }
        (Some(_), Ok(())) => render::json(&ForAnApp { name: &admitted.name, profile: None }),
        _ if as_json => render::json(&ForAnApp { name: &admitted.name, profile: Some(&configuration) }),
        _ => render::print(&render::network::openvpn(&admitted.name, &configuration, Style::of_stdout())),
    }
    written.map(|()| Exit::Done)
}

/// The profile with the key in its first section.
pub(super) fn with_key(profile: &str, key: &PrivateKey) -> Zeroizing<String> {
    let line = Zeroizing::new(format!("[Interface]\nPrivateKey = {}\n", &*Zeroizing::new(key.to_base64())));
    Zeroizing::new(profile.replacen("[Interface]\n", &line, 1))
}

/// Draws the code.
fn draw(file: Kept<'_>, text: &str) -> Result<()> {
    file.write(&qr::png(text).map_err(Failure::failed)?)
}

/// A file for a secret, readable by nobody but its owner. It is made before there is a secret that could be lost, and goes
/// again if none comes.
pub(super) struct Kept<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl<'a> Kept<'a> {
    pub(super) fn begin(path: &'a Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|e| {
            if e.kind() == ErrorKind::AlreadyExists {
                return Failure::usage(format!("{} is there already", path.display()))
                    .hint("give a file that is not; nothing was made yet");
            }
            Failure::io(format!("cannot write {}", path.display()), &e).hint("nothing was made yet")
        })?;
        Ok(Self { path, file: Some(file) })
    }

    fn write(mut self, bytes: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|e| Failure::io(format!("cannot write {}", self.path.display()), &e))?;
        self.file = None;
        Ok(())
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _gone = std::fs::remove_file(self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_name_of_the_device_and_stays_here() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: InviteArgs,
        }
        let file = |line: &[&str]| picture_file(&Line::parse_from([&["invite"], line].concat()).args);
        assert_eq!(file(&["tv"]), None);
        assert_eq!(file(&["tv", "--for", "qr-png"]), Some("tv.png".into()));
        assert_eq!(file(&["../../etc/tv", "--for", "qr-png"]), Some("tv.png".into()));
        assert_eq!(file(&["--for", "qr-png"]), Some("invite.png".into()));
        assert_eq!(file(&["tv", "--for", "qr-png", "--png", "code.png"]), Some("code.png".into()));
    }

    #[test]
    fn a_picture_that_was_not_drawn_leaves_no_file_and_none_is_overwritten() {
        let path = std::env::temp_dir().join(format!("adit-picture-{}.png", std::process::id()));
        drop(Kept::begin(&path).unwrap());
        assert!(!path.exists());
        draw(Kept::begin(&path).unwrap(), "adit:1:abc").unwrap();
        let drawn = std::fs::read(&path).unwrap();
        assert!(drawn.starts_with(b"\x89PNG"));
        assert!(Kept::begin(&path).is_err_and(|e| e.message.contains("is there already")));
        assert_eq!(std::fs::read(&path).unwrap(), drawn);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_key_is_put_where_wireguard_looks_for_it() {
        let profile = with_key("[Interface]\nAddress = 10.0.0.2/32\n\n[Peer]\n", &PrivateKey::new([1; 32]));
        let parsed = adit::profile::wg_quick::parse(&profile).profile;
        assert_eq!(parsed.interface.private_key.unwrap().public_key(), PrivateKey::new([1; 32]).public_key());
    }
}
