//! A network and commands for tests, made of the public interface only.

use std::collections::BTreeSet;
use std::time::Duration;

use adit_control::{
    Actor, App, Command, Entry, Host, HttpsKey, Model, Name, Network, NewInvite, NewPeer, Redeem, Store, StoreError,
    Token, UnixTime, decide,
};
use adit_wireguard::PublicKey;

pub(crate) const NOW: UnixTime = UnixTime(1_795_281_033);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn key(number: u64) -> PublicKey {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    PublicKey::new(bytes)
}

pub(crate) fn https_key(number: u64) -> HttpsKey {
    HttpsKey::new(*key(number).as_bytes())
}

/// Room for 65 533 devices.
pub(crate) fn network() -> Network {
    Network {
        name: name("home"),
        hosts: vec![Host::new("vpn.example.org").unwrap()],
        port: 51_820,
        web: None,
        v4: "10.77.0.0/16".parse().unwrap(),
        v6: "fd7a:91c2:77:1::/64".parse().unwrap(),
        dns: Vec::new(),
        key: PublicKey::new([1; 32]),
    }
}

pub(crate) fn actor() -> Actor {
    Actor::new("uid 0 (root)", "local socket")
}

/// Admits a plain WireGuard app.
pub(crate) fn add(called: &str, number: u64) -> Command {
    add_app(called, App::WireGuard, number)
}

/// Admits an app that speaks this.
pub(crate) fn add_app(called: &str, app: App, number: u64) -> Command {
    Command::AddPeer(NewPeer { name: name(called), app, key: key(number), groups: BTreeSet::new(), expires: None })
}

pub(crate) fn invite(number: u64, uses: u32) -> Command {
    let address = network().v6.addr().to_bits() | 1 << 63 | u128::from(number);
    Command::CreateInvite(NewInvite {
        name: None,
        key: key(1 << 40 | number),
        https_key: https_key(1 << 40 | number),
        address: address.into(),
        expires: NOW.after(Duration::from_secs(86_400)),
        uses,
        groups: BTreeSet::from([name("family")]),
    })
}

/// A device that comes by an invite.
pub(crate) fn redeem(invite: u64, device: u64) -> Command {
    Command::Redeem(Redeem {
        by: Token::Key(key(1 << 40 | invite)),
        key: key(device),
        https_key: https_key(device),
        wish: Some(name("laptop")),
    })
}

/// Decides a command, commits it, and makes the same change to the model in memory.
pub(crate) async fn act(store: &Store, model: &mut Model, command: Command, now: UnixTime) -> Result<(), StoreError> {
    let Ok(decision) = decide(model, command, now) else {
        return Ok(());
    };
    if decision.changes.is_empty() {
        return Ok(());
    }
    let entry = Entry::new(&actor(), decision.verb, decision.what, now);
    let revision = store.commit(model.revision, decision.changes.clone(), entry).await?;
    decision.changes.iter().for_each(|change| model.apply(change));
    model.revision = revision;
    Ok(())
}
