//! `adit join LINK|FILE|QR.png`.
//!
//! The order is such that nothing is lost wherever it ends: the key is on disk before the server hears of it, the server
//! gives the same answer to the same key, and the profile is on disk before the key is forgotten.
//! Not here: asking the server (`adit::join`), where things are kept (`profiles`).

use std::io::{self, IsTerminal as _, Read as _};
use std::time::{SystemTime, UNIX_EPOCH};

use adit::enrol::Membership;
use adit::invite::{Invite, LinkError, MAX_NAME, is_link};
use adit::join::{Options, check_words, redeem};
use adit::profile::file;
use adit_wireguard::PrivateKey;
use serde::Serialize;
use zeroize::Zeroizing;

use super::up::{self, IsUp};
use crate::args::JoinArgs;
use crate::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::name::Source;
use crate::places::Places;
use crate::profiles::{Pending, Profiles};
use crate::{qr, render};

/// The largest file that is looked for an invite in: a screenshot.
const MAX_FILE: u64 = 32 << 20;

/// Joins, or says what that would do.
pub(super) fn run(args: &JoinArgs) -> Result<Exit> {
    let invite = read(&args.invite)?;
    let name = device_name(args.name.as_deref())?;
    let places = Places::of_this_process();
    let profiles = Profiles::of_this_machine(&places.state());
    if args.dry_run {
        return dry_run(args, &invite, &name, &profiles);
    }
    if !args.no_up && Client::connect(&places)?.is_none() {
        needs_net_admin()?;
    }
    if let Err(late) = invite.check_time(now()) {
        render::warning(&format!("{late}\n  the server is asked all the same, for its clock counts"));
    }
    let invite_key = invite.public_key();
    let known = profiles.of_invite(&invite_key);
    let kept = match known.filter(|known| args.profile.as_ref().is_none_or(|asked| asked == known)) {
        Some(name) => known_already(args, &invite, &profiles, name)?,
        None => ask(args, &invite, &name, &profiles)?,
    };
    // From here on nothing can be lost.
    profiles.forget(&invite_key);
    finish(args, kept, &places)
}

/// Asks the server, and keeps the profile.
fn ask(args: &JoinArgs, invite: &Invite, name: &str, profiles: &Profiles) -> Result<Kept> {
    // A name that cannot be had is found before the server is asked.
    profiles.choose(args.profile.as_deref(), &invite.network)?;
    let Pending { key, resumed } = profiles.pending(&invite.public_key())?;
    let words = words(invite, &key);
    if !args.json {
        let made = if resumed { "the key of the attempt before is used again" } else { "a key is made" };
        render::line(&format!("{made}; it stays on this device"));
        render::line(&format!("check words: {words}   (the server shows the same)"));
        render::line(&format!("asking {}", invite.hosts.join(", then ")));
    }
    let options = Options { system: system(), ..Options::default() };
    let membership = super::block_on(redeem(invite, &key, name, &options))?.map_err(Failure::failed)?;
    let profile = profiles.choose(args.profile.as_deref(), &membership.network)?;
    let addresses: Vec<_> = membership.addresses.iter().map(|address| address.addr().to_string()).collect();
    let file = profiles.keep(&profile, &invite.public_key(), &membership.profile(key).emit())?;
    if !args.json {
        let Membership { network, name, .. } = &membership;
        render::line(&format!("joined {network} as {name}: {}", addresses.join(", ")));
        render::line(&format!("kept in {}", file.display()));
    }
    let Membership { network, name: device, .. } = membership;
    Ok(Kept { network, device: Some(device), addresses, source: Source { name: profile, file }, words })
}

/// The same link again: what was made with it is there.
fn known_already(args: &JoinArgs, invite: &Invite, profiles: &Profiles, name: String) -> Result<Kept> {
    let file = profiles.file(&name);
    let interface = file::load(&file).map_err(|e| super::load_failure(&e))?.profile.interface;
    if !args.json {
        render::line(&format!("this device has joined {} with this invite: {}", invite.network, file.display()));
    }
    Ok(Kept {
        network: invite.network.clone(),
        device: None,
        addresses: interface.addresses.iter().map(|address| address.addr().to_string()).collect(),
        words: interface.private_key.map_or_else(String::new, |key| words(invite, &key)),
        source: Source { name, file },
    })
}

fn words(invite: &Invite, device: &PrivateKey) -> String {
    check_words(&invite.public_key(), &device.public_key(), &invite.server).join(" ")
}

/// A profile that is kept, and what there is to say of it.
struct Kept {
    network: String,
    /// What the server has just called this device.
    device: Option<String>,
    addresses: Vec<String>,
    source: Source,
    words: String,
}

/// What `--json` says.
#[derive(Serialize)]
struct Joined {
    /// The number of this schema.
    schema: u32,
    network: String,
    /// What this device is called there; absent if it had joined before.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    addresses: Vec<String>,
    /// What the tunnel is called here.
    profile: String,
    file: String,
    check_words: String,
    /// Absent with `--no-up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    up: Option<IsUp>,
}

fn finish(args: &JoinArgs, kept: Kept, places: &Places) -> Result<Exit> {
    let Kept { network, device, addresses, source, words } = kept;
    let up = if args.no_up {
        None
    } else {
        let again = || format!("the profile is kept: `adit up {}` tries again", source.name);
        // The link of a tunnel that is up has nothing left to do.
        match up::already_up(&source, places)? {
            Some(up) => Some(up),
            None => Some(up::bring_up(&source, places).map_err(|failure| failure.hint(again()))?),
        }
    };
    if args.json {
        let (profile, file) = (source.name, source.file.display().to_string());
        render::json(&Joined { schema: 1, network, device, addresses, profile, file, check_words: words, up });
        return Ok(Exit::Done);
    }
    match up {
        Some(up) => {
            up.lines().iter().for_each(|line| render::line(line));
            render::line(&format!("undo: adit down {}", source.name));
        }
        None => render::line(&format!("bring it up with `adit up {}`", source.name)),
    }
    Ok(Exit::Done)
}

/// What `--dry-run --json` says.
#[derive(Serialize)]
struct DryRun {
    network: String,
    server: String,
    expires: u64,
    profile: String,
    changes: Vec<String>,
}

fn dry_run(args: &JoinArgs, invite: &Invite, name: &str, profiles: &Profiles) -> Result<Exit> {
    if let Err(late) = invite.check_time(now()) {
        render::warning(&late.to_string());
    }
    let profile = profiles.choose(args.profile.as_deref(), &invite.network)?;
    let mut ways: Vec<_> = invite.udp_port.map(|port| format!("UDP port {port}")).into_iter().collect();
    ways.extend(invite.https.as_ref().map(|https| format!("https://{}:{}", https.name, https.port)));
    let mut changes = vec![
        "make a private key, which stays on this device".to_owned(),
        format!("ask {} ({}) to admit it to {} as {name}", invite.hosts.join(", "), ways.join(", "), invite.network),
        format!("keep the profile in {}", profiles.file(&profile).display()),
    ];
    if !args.no_up {
        changes.push(format!("bring {profile} up"));
    }
    if args.json {
        let (network, server) = (invite.network.clone(), invite.server.to_string());
        render::json(&DryRun { network, server, expires: invite.expires, profile, changes });
    } else {
        render::line("`adit join` would, from top to bottom:");
        changes.iter().for_each(|change| render::line(&format!("  {change}")));
    }
    Ok(Exit::Done)
}

/// The invite that a person means: a link, or a file or standard input with a link or its QR code.
fn read(argument: &str) -> Result<Invite> {
    if is_link(argument.trim_start()) {
        return Invite::from_link(argument).map_err(|error| link_failure(&error));
    }
    let (bytes, what) = if argument == "-" {
        if io::stdin().is_terminal() {
            render::note("paste the link, then press Enter and Ctrl-D");
        }
        (contents(io::stdin(), "standard input")?, "standard input")
    } else {
        let file = std::fs::File::open(argument).map_err(|e| not_opened(argument, &e))?;
        (contents(file, argument)?, argument)
    };
    of_bytes(&bytes, what)
}

fn not_opened(argument: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::usage(format!("{argument} is neither an invite nor a file"))
            .hint("an invite begins with `adit:1:`; give it, a file with it, or a PNG with its QR code");
    }
    Failure::io(format!("cannot open {argument}"), error)
}

fn contents(from: impl io::Read, what: &str) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    from.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| Failure::io(format!("cannot read {what}"), &e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::usage(format!("{what} is longer than {} MiB, which no invite is", MAX_FILE >> 20)));
    }
    Ok(bytes)
}

fn of_bytes(bytes: &[u8], what: &str) -> Result<Invite> {
    let text = if qr::is_png(bytes) {
        qr::read_png(bytes).map_err(|e| Failure::usage(format!("{what}: {e}")))?
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            Failure::usage(format!("{what} is neither text nor a PNG"))
                .hint("save the QR code as a PNG: a screenshot is one")
        })?;
        Zeroizing::new(text.to_owned())
    };
    if text.contains("[Interface]") {
        return Err(Failure::usage(format!("{what} is a configuration, not an invite"))
            .hint("save it as /etc/adit/NAME.conf, and bring it up with `adit up NAME`"));
    }
    Invite::from_link(text.trim_start_matches('\u{feff}')).map_err(|error| link_failure(&error))
}

fn link_failure(error: &LinkError) -> Failure {
    Failure::usage(error)
}

/// What the device would like to be called: as it is told, or like the machine.
fn device_name(asked: Option<&str>) -> Result<String> {
    let Some(name) = asked else {
        return Ok(rustix::system::uname().nodename().to_string_lossy().into_owned());
    };
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Failure::usage(format!("`{}` cannot be the name of a device", name.escape_debug()))
            .hint(format!("a name has 1 to {MAX_NAME} bytes, and no line ends or the like")));
    }
    Ok(name.to_owned())
}

/// What this device is, for the people at the server.
fn system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = pretty.map_or("Linux", |name| name.trim_matches(['"', '\'']));
    format!("{name}, {}", std::env::consts::ARCH)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Found before the invite is used. The hint does not repeat the link.
fn needs_net_admin() -> Result<()> {
    super::needs_net_admin("bringing the tunnel up").map_err(|failure| Failure {
        hints: vec!["run the same command with `sudo`, or with `--no-up` if only the profile is wanted".to_owned()],
        ..failure
    })
}

#[cfg(test)]
mod tests {
    use adit_protocol::Secret;
    use adit_wireguard::PublicKey;

    use super::*;

    fn invite() -> Invite {
        Invite {
            network: "home".to_owned(),
            secret: Secret::new([5; 16]),
            expires: 4_000_000_000,
            server: PublicKey::new([1; 32]),
            prefix: [0xfd; 8],
            hosts: vec!["192.0.2.1".to_owned()],
            udp_port: Some(51820),
            https: None,
        }
    }

    #[test]
    fn an_invite_is_read_from_a_link_from_text_and_from_an_image() {
        let link = invite().to_link().unwrap();
        assert_eq!(read(&link), Ok(invite()));
        assert_eq!(of_bytes(format!("\u{feff}{}\r\n", link.as_str()).as_bytes(), "x"), Ok(invite()));
        let image = qr::png(&link.to_uppercase()).unwrap();
        assert_eq!(of_bytes(&image, "x"), Ok(invite()));
    }

    #[test]
    fn what_is_no_invite_is_told_apart() {
        let said = |bytes: &[u8]| {
            let failure = of_bytes(bytes, "it").unwrap_err();
            assert_eq!(failure.kind, Exit::Usage);
            failure.to_string()
        };
        assert!(said(b"hello").contains("not an invite"));
        assert!(said(b"[Interface]\nPrivateKey = x").contains("a configuration"));
        assert!(said(b"\xff\xd8\xff\xe0").contains("neither text nor a PNG"));
        assert!(said(&qr::png("hello").unwrap()).contains("not an invite"));
        let missing = read("/nowhere/invite.png").unwrap_err();
        assert!(missing.message.contains("neither an invite nor a file"), "{missing}");
    }

    #[test]
    fn a_device_is_called_as_it_is_told_or_like_the_machine() {
        assert_eq!(device_name(Some("laptop")), Ok("laptop".to_owned()));
        assert!(!device_name(None).unwrap().is_empty());
        for wrong in ["", "a\nb", &"x".repeat(65)] {
            assert_eq!(device_name(Some(wrong)).unwrap_err().kind, Exit::Usage);
        }
    }
}
